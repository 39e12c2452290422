/* Keep a task's page up to date: poll the server until the task is finished. It says how often. */
"use strict";

(() => {
  const SECOND = 1000;
  const MAX_INTERVAL = 30000;

  const liveStatus = document.createElement("p");
  liveStatus.className = "st3-live-status";
  liveStatus.setAttribute("role", "status");

  /* What makes an element the same one as before: its id or its event. */
  function keyOf(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.st3Event || "" : "";
  }

  function isSame(before, after) {
    return before.nodeName === after.nodeName && keyOf(before) === keyOf(after);
  }

  function updateAttributes(before, after) {
    /* Users open and close details and dialogs; each answer has another token. */
    if (before.name === "csrfmiddlewaretoken") return;
    for (const { name } of [...before.attributes]) {
      if (name !== "open" && !after.hasAttribute(name)) before.removeAttribute(name);
    }
    for (const { name, value } of after.attributes) {
      if (name !== "open" && before.getAttribute(name) !== value) before.setAttribute(name, value);
    }
  }

  /* Make `before` like `after`: nodes that stay keep focus, selection and what was opened. */
  function update(before, after) {
    if (before.nodeType !== Node.ELEMENT_NODE) {
      if (before.nodeValue !== after.nodeValue) before.nodeValue = after.nodeValue;
      return;
    }
    updateAttributes(before, after);
    updateChildren(before, after);
  }

  function updateChildren(before, after) {
    let next = before.firstChild;
    for (const child of [...after.childNodes]) {
      let match = next;
      while (match && !isSame(match, child)) match = match.nextSibling;
      if (!match) {
        before.insertBefore(child, next);
        continue;
      }
      while (next !== match) next = removeOne(next);
      update(match, child);
      next = match.nextSibling;
    }
    while (next) next = removeOne(next);
  }

  /* A dialog in which a user writes stays. */
  function removeOne(node) {
    const next = node.nextSibling;
    if (!(node.nodeName === "DIALOG" && node.open)) node.remove();
    return next;
  }

  function replaceFields(fields) {
    for (const [name, html] of Object.entries(fields)) {
      const element =
        document.querySelector(`.fieldBox.field-${name} .readonly`) ||
        document.querySelector(`.form-row.field-${name} .readonly`);
      if (element && element.dataset.st3 !== html) {
        element.dataset.st3 = html;
        element.innerHTML = html;
      }
    }
  }

  function replaceParts(page, parts) {
    for (const [name, html] of Object.entries(parts)) {
      const part = page.querySelector(`[data-st3-part="${name}"]`);
      const template = document.createElement("template");
      template.innerHTML = html;
      if (part) updateChildren(part, template.content);
    }
  }

  function announce(page, state) {
    if (page.dataset.st3State === state) return;
    page.dataset.st3State = state;
    liveStatus.textContent = state;
  }

  /* Say since when the page is not up to date any more. */
  function stop(page) {
    for (const element of page.querySelectorAll(".st3-live")) {
      element.classList.add("st3-still");
      element.textContent = element.dataset.st3Stopped;
    }
  }

  /* Nothing but the time has changed. */
  function tick(page, answer) {
    for (const element of page.querySelectorAll(".st3-live")) {
      element.classList.remove("st3-still");
      element.dataset.st3Stopped = answer.stopped;
      element.textContent = answer.live;
    }
  }

  function show(page, answer) {
    replaceParts(page, answer.parts);
    page.dataset.st3Sequence = answer.sequence;
    page.dataset.st3Version = answer.version;
    replaceFields(answer.fields);
    announce(page, answer.state);
  }

  function follow(page) {
    const url = page.dataset.st3Live;
    let interval = page.dataset.st3Interval * SECOND;
    page.classList.add("st3-is-live");
    const poll = async () => {
      if (document.hidden) return setTimeout(poll, SECOND);
      try {
        const headers = {
          Accept: "application/json",
          "X-St3-Sequence": page.dataset.st3Sequence,
          "X-St3-Version": page.dataset.st3Version,
        };
        const response = await fetch(url, { headers });
        if ([401, 403, 404].includes(response.status) || response.redirected) return stop(page);
        if (!response.ok) throw new Error(response.statusText);
        const answer = await response.json();
        if (answer.parts) show(page, answer);
        else tick(page, answer);
        if (answer.final) return undefined;
        interval = answer.interval * SECOND;
      } catch {
        stop(page);
        interval = Math.min(interval * 2, MAX_INTERVAL);
      }
      return setTimeout(poll, interval);
    };
    setTimeout(poll, interval);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const pages = document.querySelectorAll("[data-st3-live]");
    if (pages.length) document.body.append(liveStatus);
    pages.forEach(follow);
  });
})();

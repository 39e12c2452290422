/* Keep the dashboard up to date: read it again every five seconds, and change only what differs. */
"use strict";

(() => {
  const INTERVAL = 5000;
  const MAX_INTERVAL = 30000;
  const REFUSED = [401, 403, 404];

  const keyOf = (node) =>
    node.nodeType === Node.ELEMENT_NODE
      ? node.dataset.st3Key || node.getAttribute("aria-labelledby") || null
      : null;

  /* What the user has opened or is about to send stays as it is. */
  const isInUse = (node) =>
    node.nodeType === Node.ELEMENT_NODE &&
    ((node.matches("details.st3-command") && node.open) || node.matches("input"));

  const isRow = (node) => node.matches("tr, li");

  function copyAttributes(before, after) {
    for (const { name } of [...before.attributes]) {
      if (name !== "open" && !after.hasAttribute(name)) before.removeAttribute(name);
    }
    for (const { name, value } of after.attributes) {
      if (name !== "open" && before.getAttribute(name) !== value) before.setAttribute(name, value);
    }
  }

  function morph(before, after) {
    if (after.nodeType === Node.ELEMENT_NODE && "st3Keep" in after.dataset) return;
    if (before.nodeType !== after.nodeType || before.nodeName !== after.nodeName) {
      before.replaceWith(after);
    } else if (before.nodeType !== Node.ELEMENT_NODE) {
      if (before.nodeValue !== after.nodeValue) before.nodeValue = after.nodeValue;
    } else if (!isInUse(before)) {
      copyAttributes(before, after);
      morphChildren(before, after);
    }
  }

  function morphChildren(before, after) {
    const children = [...after.childNodes];
    if (children.some(keyOf) || [...before.childNodes].some(keyOf)) {
      morphKeyed(before, children);
      return;
    }
    const old = [...before.childNodes];
    children.forEach((child, number) => {
      if (number < old.length) morph(old[number], child);
      else before.append(child);
    });
    old.slice(children.length).forEach((node) => node.remove());
  }

  /* Children with a key keep their order, so that no row moves: new rows come last, and a row that
     is gone stays, pale, while the pointer or the focus is among them. */
  function morphKeyed(parent, children) {
    const old = [...parent.childNodes];
    const byKey = new Map(old.filter(keyOf).map((node) => [keyOf(node), node]));
    const others = old.filter((node) => !keyOf(node));
    let place = null;
    for (const child of children) {
      const key = keyOf(child);
      const match = key ? byKey.get(key) : others.shift();
      if (match) {
        byKey.delete(key);
        place = match;
        morph(match, child);
        if (!match.isConnected) place = child;
      } else if (key && isRow(child)) {
        parent.append(child);
      } else {
        if (place) place.after(child);
        else parent.prepend(child);
        place = child;
      }
    }
    others.forEach((node) => node.remove());
    const isWatched = parent.matches(":hover, :focus-within");
    for (const node of byKey.values()) {
      if (isWatched && isRow(node)) node.classList.add("st3-gone");
      else node.remove();
    }
  }

  function follow(root) {
    const content = root.querySelector("[data-st3-content]");
    const status = root.querySelector("[data-st3-status]");
    let interval = INTERVAL;
    let timer = null;

    const label = (part) => part.querySelector(".st3-live");
    /* When the server has read it: all times of the page are in the server's time zone. */
    const timeOf = (part) => label(part)?.dataset.st3Time;
    let last = timeOf(content);
    /* The charts that the page has are not sent again. */
    function address() {
      const url = new URL(root.dataset.st3Live, location.href);
      const charts = content.querySelector("[data-st3-charts]");
      if (charts) url.searchParams.set("charts", charts.dataset.st3Charts);
      return url;
    }

    const sentence = (part) => part.querySelector("[data-st3-announce]")?.textContent || "";

    function say(part, words, time) {
      const element = label(part);
      if (element) element.textContent = `${words} ${time}`;
    }

    function stop() {
      say(content, root.dataset.st3Stopped, last);
      label(content)?.classList.add("st3-stopped");
    }

    function update(text) {
      const page = new DOMParser().parseFromString(`<div>${text}</div>`, "text/html");
      const fresh = page.body.firstElementChild;
      last = timeOf(fresh) || last;
      say(fresh, root.dataset.st3Words, last);
      const before = sentence(content);
      morphChildren(content, fresh);
      if (sentence(content) !== before) status.textContent = sentence(content);
    }

    async function poll() {
      timer = null;
      if (document.hidden) return;
      try {
        const response = await fetch(address(), { headers: { Accept: "text/html" } });
        if (REFUSED.includes(response.status) || response.redirected) {
          stop();
          return;
        }
        if (!response.ok) throw new Error(response.statusText);
        update(await response.text());
        interval = INTERVAL;
      } catch {
        interval = Math.min(interval * 2, MAX_INTERVAL);
        stop();
      }
      if (label(content)) timer = setTimeout(poll, interval);
    }

    if (!label(content)) return;
    say(content, root.dataset.st3Words, last);
    timer = setTimeout(poll, interval);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && timer === null) poll();
    });
  }

  /* One question at a time: it begins at its reason, and Escape gives the focus back. */
  function handleQuestions(root) {
    root.addEventListener(
      "toggle",
      ({ target }) => {
        if (!target.matches("details.st3-command") || !target.open) return;
        for (const other of root.querySelectorAll("details.st3-command[open]")) {
          if (other !== target) other.open = false;
        }
        target.querySelector("input[name=reason]").focus();
      },
      true,
    );
    root.addEventListener("keydown", (event) => {
      const question = event.target.closest("details.st3-command[open]");
      if (event.key !== "Escape" || !question) return;
      question.open = false;
      question.querySelector("summary").focus();
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const root of document.querySelectorAll("[data-st3-live].st3-dashboard")) {
      follow(root);
      handleQuestions(root);
    }
  });
})();

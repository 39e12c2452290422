/* Keep a list of tasks up to date: poll its numbers and cells while something waits or runs. */
"use strict";

(() => {
  const INTERVAL = 5000;
  const MAX_INTERVAL = 30000;
  const MAX_ANNOUNCED = 3;

  /* Change only what differs, so that focus, selection and the motion of bars stay. */
  function patch(before, after) {
    if (before.isEqualNode(after)) return;
    const isSame = before.nodeName === after.nodeName;
    if (!isSame || before.nodeType !== Node.ELEMENT_NODE) return before.replaceWith(after);
    for (const { name } of [...before.attributes]) {
      if (!after.hasAttribute(name)) before.removeAttribute(name);
    }
    for (const { name, value } of after.attributes) before.setAttribute(name, value);
    patchChildren(before, after);
  }

  function patchChildren(before, after) {
    const [old, fresh] = [[...before.childNodes], [...after.childNodes]];
    fresh.forEach((node, number) => {
      if (old[number]) patch(old[number], node);
      else before.append(node);
    });
    old.slice(fresh.length).forEach((node) => node.remove());
  }

  function replaceCells(row, cells) {
    for (const [name, html] of Object.entries(cells)) {
      const cell = row.querySelector(`.field-${CSS.escape(name)}`);
      const template = document.createElement("template");
      template.innerHTML = html;
      if (cell) patchChildren(cell, template.content);
    }
  }

  function showCounts(counts) {
    for (const link of document.querySelectorAll("[data-st3-count]")) {
      const count = counts[link.dataset.st3Count];
      const number = link.querySelector("b");
      if (count !== undefined && number.textContent !== count) number.textContent = count;
    }
  }

  function showNew(count) {
    const link = document.querySelector("[data-st3-new]");
    link.hidden = !count.number;
    if (link.textContent !== count.words) link.textContent = count.words;
  }

  function follow(clock) {
    const url = clock.dataset.st3List;
    const rows = new Map();
    for (const row of document.querySelectorAll("[data-st3-key]")) {
      rows.set(row.dataset.st3Key, row);
    }
    const announcer = document.createElement("p");
    announcer.className = "visually-hidden";
    announcer.setAttribute("role", "status");
    clock.after(announcer);
    let interval = INTERVAL;
    let time = clock.textContent;

    const say = (words) => {
      clock.textContent = words ? words.replace("{}", time) : time;
      clock.classList.toggle("st3-still", words !== clock.dataset.st3LiveWord);
    };

    const update = (state) => {
      const changed = [];
      for (const [key, row] of Object.entries(state.rows)) {
        const { dataset } = rows.get(key);
        replaceCells(rows.get(key), row.cells);
        if (dataset.st3State !== row.state) changed.push(`${row.name}: ${row.state}`);
        dataset.st3State = row.state;
      }
      showCounts(state.counts);
      showNew(state.new);
      if (changed.length) announcer.textContent = changed.slice(0, MAX_ANNOUNCED).join(", ");
      time = state.time;
      say(state.is_busy ? clock.dataset.st3LiveWord : "");
    };

    const request = () => {
      const body = new URLSearchParams([...rows.keys()].map((key) => ["key", key]));
      const token = document.querySelector("#changelist-form [name=csrfmiddlewaretoken]");
      const headers = { Accept: "application/json", "X-CSRFToken": token ? token.value : "" };
      return fetch(url, { method: "POST", headers, body });
    };

    const poll = async () => {
      if (document.hidden) return setTimeout(poll, INTERVAL);
      try {
        const response = await request();
        if ([401, 403, 404].includes(response.status) || response.redirected) {
          return say(clock.dataset.st3StoppedWord);
        }
        if (!response.ok) throw new Error(response.statusText);
        const state = await response.json();
        update(state);
        if (!state.is_busy) return undefined;
        interval = INTERVAL;
      } catch {
        say(clock.dataset.st3StoppedWord);
        interval = Math.min(interval * 2, MAX_INTERVAL);
      }
      return setTimeout(poll, interval);
    };
    say(clock.dataset.st3LiveWord);
    setTimeout(poll, INTERVAL);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-st3-list]").forEach((clock) => {
      if (clock.dataset.st3List) follow(clock);
    });
  });
})();

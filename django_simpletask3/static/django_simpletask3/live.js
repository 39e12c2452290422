/* Keep a task's page up to date: poll the server once a second until the task is finished. */
"use strict";

(() => {
  const INTERVAL = 1000;
  const MAX_INTERVAL = 30000;

  const liveStatus = document.createElement("p");
  liveStatus.className = "st3-live-status";
  liveStatus.setAttribute("role", "status");

  function replaceField(name, html) {
    const element =
      document.querySelector(`.fieldBox.field-${name} .readonly`) ||
      document.querySelector(`.form-row.field-${name} .readonly`);
    if (element && element.dataset.st3 !== html) {
      element.dataset.st3 = html;
      element.innerHTML = html;
    }
  }

  /* The <details> of a section by event and position: those that are open or focused stay so. */
  function detailsOf(section) {
    const detailsByKey = new Map();
    for (const row of section.querySelectorAll("[data-st3-event]")) {
      row.querySelectorAll("details").forEach((details, number) => {
        detailsByKey.set(`${row.dataset.st3Event}/${number}`, details);
      });
    }
    return detailsByKey;
  }

  function replaceTimeline(section, html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const newSection = template.content.firstElementChild;
    if (!newSection) return section;
    const before = detailsOf(section);
    const focused = [...before].find(([, details]) => details.contains(document.activeElement));
    const after = detailsOf(newSection);
    for (const [key, details] of before) if (after.has(key)) after.get(key).open = details.open;
    section.replaceWith(newSection);
    if (focused && after.has(focused[0])) after.get(focused[0]).querySelector("summary").focus();
    return newSection;
  }

  function update(section, state) {
    for (const [name, html] of Object.entries(state.fields)) replaceField(name, html);
    if (liveStatus.textContent !== state.status) liveStatus.textContent = state.status;
    /* Without a new event nothing is replaced, so that focus and selection stay. */
    const isUnchanged = !state.final && String(state.sequence) === section.dataset.st3Sequence;
    return isUnchanged ? section : replaceTimeline(section, state.timeline);
  }

  function follow(section) {
    const url = section.dataset.st3Live;
    let interval = INTERVAL;
    const poll = async () => {
      if (document.hidden) return setTimeout(poll, INTERVAL);
      try {
        const response = await fetch(url, { headers: { Accept: "application/json" } });
        if ([401, 403, 404].includes(response.status) || response.redirected) return undefined;
        if (!response.ok) throw new Error(response.statusText);
        const state = await response.json();
        section = update(section, state);
        if (state.final) return undefined;
        interval = INTERVAL;
      } catch {
        interval = Math.min(interval * 2, MAX_INTERVAL);
      }
      return setTimeout(poll, interval);
    };
    setTimeout(poll, interval);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const live = document.querySelectorAll("[data-st3-live]");
    if (live.length) document.body.append(liveStatus);
    live.forEach(follow);
  });
})();

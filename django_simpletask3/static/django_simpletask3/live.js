/* A task's page follows its task: while it is not finished, the page asks once a second. */
"use strict";

(() => {
  const PACE = 1000;
  const SLOWEST = 30000;

  const said = document.createElement("p");
  said.className = "st3-heard";
  said.setAttribute("role", "status");

  function replaceField(name, html) {
    const place =
      document.querySelector(`.fieldBox.field-${name} .readonly`) ||
      document.querySelector(`.form-row.field-${name} .readonly`);
    if (place && place.dataset.st3 !== html) {
      place.dataset.st3 = html;
      place.innerHTML = html;
    }
  }

  /* What a reader has unfolded, or has in hand, is known by its event: others come and go. */
  function parts(section) {
    const found = new Map();
    for (const row of section.querySelectorAll("[data-st3-event]")) {
      row.querySelectorAll("details").forEach((part, number) => {
        found.set(`${row.dataset.st3Event}/${number}`, part);
      });
    }
    return found;
  }

  function replaceTimeline(section, html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    const next = fresh.content.firstElementChild;
    if (!next) return section;
    const before = parts(section);
    const held = [...before].find(([, part]) => part.contains(document.activeElement));
    const after = parts(next);
    for (const [key, part] of before) if (after.has(key)) after.get(key).open = part.open;
    section.replaceWith(next);
    if (held && after.has(held[0])) after.get(held[0]).querySelector("summary").focus();
    return next;
  }

  function show(section, answer) {
    for (const [name, html] of Object.entries(answer.fields)) replaceField(name, html);
    if (said.textContent !== answer.status) said.textContent = answer.status;
    /* Where nothing has happened, nothing is replaced: not the focus, not what is selected. */
    const isKnown = !answer.final && String(answer.sequence) === section.dataset.st3Sequence;
    return isKnown ? section : replaceTimeline(section, answer.timeline);
  }

  function follow(section) {
    const url = section.dataset.st3Live;
    let pace = PACE;
    const ask = async () => {
      if (document.hidden) return setTimeout(ask, PACE);
      try {
        const response = await fetch(url, { headers: { Accept: "application/json" } });
        if ([401, 403, 404].includes(response.status) || response.redirected) return undefined;
        if (!response.ok) throw new Error(response.statusText);
        const answer = await response.json();
        section = show(section, answer);
        if (answer.final) return undefined;
        pace = PACE;
      } catch {
        pace = Math.min(pace * 2, SLOWEST);
      }
      return setTimeout(ask, pace);
    };
    setTimeout(ask, pace);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const live = document.querySelectorAll("[data-st3-live]");
    if (live.length) document.body.append(said);
    live.forEach(follow);
  });
})();

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

  function openParts(section) {
    return [...section.querySelectorAll("details")].map((part) => part.open);
  }

  function show(section, answer) {
    for (const [name, html] of Object.entries(answer.fields)) replaceField(name, html);
    const fresh = document.createElement("template");
    fresh.innerHTML = answer.timeline;
    const next = fresh.content.firstElementChild;
    if (!next) return section;
    openParts(section).forEach((open, number) => {
      const part = next.querySelectorAll("details")[number];
      if (part) part.open = open;
    });
    section.replaceWith(next);
    if (said.textContent !== answer.status) said.textContent = answer.status;
    return next;
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

/* Ask in a dialog before an action, instead of on the page of confirmation. */
"use strict";

(() => {
  function dialogOf(button) {
    return document.getElementById(button.dataset.st3Dialog);
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-st3-dialog]");
    const dialog = opener && dialogOf(opener);
    if (dialog && typeof dialog.showModal === "function") {
      event.preventDefault();
      /* The menu that had the button is closed, so that focus can return to something visible. */
      const menu = opener.closest("details");
      if (menu) menu.open = false;
      dialog.st3Opener = menu ? menu.querySelector("summary") : opener;
      dialog.showModal();
      return;
    }
    const closer = event.target.closest("[data-st3-close]");
    if (closer) closer.closest("dialog").close();
    /* A click elsewhere closes a menu. */
    for (const menu of document.querySelectorAll("details.st3-more[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest && event.target.closest("details.st3-more[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  /* "close" does not bubble: it is caught on its way down. */
  document.addEventListener(
    "close",
    (event) => {
      const opener = event.target.st3Opener;
      if (opener && opener.isConnected) opener.focus();
    },
    true,
  );
})();

// Keeps the page fresh: asks for its panels while the page is seen, and puts in what has changed.
"use strict";

(function () {
  const main = document.querySelector("main[data-panels]");
  if (!main) return;
  const every = Number(main.dataset.refresh) * 1000, longest = 60000, patience = 20000;
  const button = document.getElementById("pause"), state = document.getElementById("state"), banner = document.getElementById("banner");
  const shown = new Map(); // panel -> the HTML it had
  let paused = main.dataset.live !== "yes", wait = every, timer = 0, running = null;

  function mark(element) {
    // What can be found again in the new content: a head by its column, a link by its address, a fold by its name.
    if (!element) return null;
    const all = [...element.closest(".body").querySelectorAll("a, button, summary, .figure, .scroll")];
    const name = (one) => one.getAttribute("href") || one.tagName + one.textContent.trim();
    const same = all.filter((one) => name(one) === name(element));
    return { name: name(element), which: same.indexOf(element), find: name };
  }

  function put(panel, html) {
    const body = panel.querySelector(".body");
    if (shown.get(panel.dataset.key) === html) return;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && body.contains(selection.anchorNode)) return; // somebody is copying
    const focused = body.contains(document.activeElement) ? mark(document.activeElement) : null;
    const open = [...body.querySelectorAll("details")].map((one) => one.open);
    const scrolled = [...body.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
    const figure = body.querySelector(".figure"), read = figure && figure.dataset.read;
    body.innerHTML = html;
    shown.set(panel.dataset.key, html);
    body.querySelectorAll("details").forEach((one, i) => { one.open = open[i] || false; });
    body.querySelectorAll(".scroll").forEach((one, i) => { if (scrolled[i]) [one.scrollLeft, one.scrollTop] = scrolled[i]; });
    if (read && body.querySelector(".figure")) body.querySelector(".figure").dataset.read = read;
    window.flowlakeTables.sortAgain(body.parentElement);
    if (focused) {
      const same = [...body.querySelectorAll("a, button, summary, .figure, .scroll")].filter((one) => focused.find(one) === focused.name);
      const again = same[Math.min(focused.which, same.length - 1)];
      if (again) again.focus({ preventScroll: true });
    }
  }

  function say(problem) {
    if (banner.textContent !== problem) banner.textContent = problem;
    banner.hidden = !problem;
  }

  async function refresh() {
    if (running) return;
    running = new AbortController();
    const limit = setTimeout(() => running && running.abort(), patience);
    try {
      const answer = await fetch(main.dataset.panels, { signal: running.signal, headers: { Accept: "application/json" }, cache: "no-store" });
      if (answer.status === 401) {
        window.location.reload(); // to the login
        return;
      }
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error || "status " + answer.status);
      for (const panel of main.querySelectorAll("[data-key]")) {
        if (panel.dataset.key in told.panels) put(panel, told.panels[panel.dataset.key]);
      }
      say(told.problem);
      state.textContent = "as of " + told.at + " UTC";
      wait = told.problem ? Math.min(longest, wait * 1.5) : every;
    } catch (error) {
      wait = Math.min(longest, wait * 2);
      say("The server of this page does not answer; tried again every " + Math.round(wait / 1000) + " s. What is shown is older.");
    } finally {
      clearTimeout(limit);
      running = null;
    }
    next();
  }

  function next() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, wait);
  }

  function tell() {
    button.textContent = paused ? "Resume" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
    main.dataset.paused = String(paused);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    tell();
    if (!paused) refresh();
    else next();
  });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && !paused) refresh();
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open], details.about[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open], details.about[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  button.hidden = false;
  tell();
  next();
})();

// All of the pages' own script. Every page works without it, but for the links of mails.
"use strict";

// Bootstrap takes its colours from an attribute: before anything is drawn, and when the system changes.
const dark = matchMedia("(prefers-color-scheme: dark)");
const applyTheme = () => { document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light"; };
applyTheme();
dark.addEventListener("change", applyTheme);

// <button data-copy="ID">: copies the text of that element, and says so.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const said = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(source.textContent);
    said.textContent = "Copied";
  } catch {  // not allowed: the user copies what is selected
    getSelection().selectAllChildren(source);
    said.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { said.textContent = "Copy"; }, 2000);
});

// <input data-link-token>: what stands after the # of a mailed link. It leaves the address bar, and is sent at once.
function takeToken() {
  const input = document.querySelector("[data-link-token]");
  if (!input || location.hash.length < 2) return;
  input.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  input.form.requestSubmit();
}

// <select data-own-time-zone>: begins with the zone of this computer.
function chooseTimeZone() {
  const select = document.querySelector("[data-own-time-zone]");
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (select && [...select.options].some((option) => option.value === here)) select.value = here;
}

// <div data-live="ADDRESS" data-every="SECONDS">: follows what is there, for as long as that is live itself. What stays the
// same is left alone, so that it is not read out again, and who is in it with the keyboard stays there.
const FOCUSABLE = "a[href], button, input, select, summary, [tabindex]";

function keepLive(element) {
  setTimeout(async () => {
    if (!element.isConnected) return;
    try {
      const answer = await fetch(element.dataset.live, { headers: { "X-Live": "1" }, redirect: "manual" });
      if (answer.ok) showNow(element, await answer.text());
      else if (answer.status < 500 && answer.status !== 429) return tellItsEnd(element);  // as when the session has ended
    } catch { /* not reachable for the moment: the next time */ }
    if (element.dataset.live) keepLive(element);
  }, Number(element.dataset.every) * 1000);
}

function showNow(element, html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
  if (element.isEqualNode(fresh)) return;
  const place = [...element.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  for (const name of ["live", "every"]) {
    if (name in fresh.dataset) element.dataset[name] = fresh.dataset[name];
    else delete element.dataset[name];
  }
  element.replaceChildren(...fresh.childNodes);
  if (place >= 0) element.querySelectorAll(FOCUSABLE)[place]?.focus();
}

function tellItsEnd(element) {
  const told = document.createElement("p");
  told.className = "alert alert-warning";
  told.setAttribute("role", "alert");
  told.textContent = "You are signed out, or this is gone: what is below is not kept up to date any more. Load the page again.";
  element.before(told);
}

document.addEventListener("DOMContentLoaded", () => {
  takeToken();
  chooseTimeZone();
  document.querySelectorAll("[data-live]").forEach((element) => keepLive(element));
  document.querySelector("[aria-invalid=true], [data-focus]")?.focus();
});

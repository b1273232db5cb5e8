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

// <div data-live="ADDRESS" data-every="SECONDS">: replaced by what is there, for as long as that is live itself. Where
// nothing comes any more, as when the session has ended, it is given up some time.
function keepLive(element, failures = 0) {
  setTimeout(async () => {
    if (!element.isConnected) return;
    failures += 1;
    try {
      const answer = await fetch(element.dataset.live, { headers: { "X-Live": "1" }, redirect: "error" });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body.firstElementChild;
        element.replaceWith(fresh);
        element = fresh;
        failures = 0;
      }
    } catch { /* not reachable for the moment: the next time */ }
    if (element.dataset.live && failures < 100) keepLive(element, failures);
  }, Number(element.dataset.every) * 1000);
}

document.addEventListener("DOMContentLoaded", () => {
  takeToken();
  chooseTimeZone();
  document.querySelectorAll("[data-live]").forEach(keepLive);
  document.querySelector("[aria-invalid=true], [data-focus]")?.focus();
});

// Of two buttons the theme says one thing to the eye and another to a screen reader. Here both agree.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".search-button-field").forEach((it) => it.removeAttribute("aria-label"));
  document.querySelectorAll(".theme-switch").forEach((icon) => icon.removeAttribute("title"));
});

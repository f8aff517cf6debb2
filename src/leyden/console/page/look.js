// The look that was chosen earlier, before anything is painted. The rest is in page.js.
"use strict";
try {
  const look = localStorage.getItem("leyden-look");
  if (look === "light" || look === "dark") document.documentElement.dataset.look = look;
} catch {
  // storage is blocked: as the system
}

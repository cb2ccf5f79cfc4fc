"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const setScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", setScheme);
setScheme();

/* The row to which the `type` of a problem links. Deep links to operations would replace its hash. */
const row = document.getElementById(location.hash.slice(1));

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: !row,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  /* Rendering the operations moves the row. */
  onComplete: () => requestAnimationFrame(() => row?.scrollIntoView({ block: "center" })),
});

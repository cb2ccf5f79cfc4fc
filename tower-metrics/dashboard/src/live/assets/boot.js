// Runs before the first paint: sets the base URL and the theme, then loads the page's modules.
(() => {
  // Only the browser knows the path at which a proxy serves the page. All other URLs are relative to it.
  const base = document.createElement("base");
  base.href = location.pathname.replace(/\/?$/, "/");
  document.head.prepend(base);

  let theme = null;
  try { theme = localStorage.getItem("theme"); } catch { /* storage may be disabled */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

  for (const [name, type] of [["uPlot.min.js", "text/javascript"], ["main.js", "module"]]) {
    const script = document.createElement("script");
    script.src = `assets/${name}`;
    script.type = type;
    // Inserted scripts run as they arrive, and `main.js` needs uPlot.
    script.async = false;
    document.head.append(script);
  }
})();

// Before the page is drawn: the reader's own choice of dark or light, if there is one.
try {
  const theme = localStorage.getItem("watcher.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* nothing may be kept: the system's choice holds */ }

// What pages do more where scripts run: times in the reader's own zone, and fresh figures.
// Times are in the page's language, as in the reader's country where that is known.
const language = document.documentElement.lang;
const locale = navigator.languages.find((each) => each.split("-")[0] === language) || language;
for (const at of document.querySelectorAll("time[datetime]")) {
  const date = new Date(at.dateTime);
  at.title = at.textContent;
  at.textContent = date.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}
const every = Number(document.body.dataset.refresh || 0);
if (every) {
  setInterval(() => {
    const busy = document.activeElement && document.activeElement.matches("input,select,textarea");
    if (!document.hidden && !busy) location.reload();
  }, every * 1000);
}

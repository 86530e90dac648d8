// What pages do more where scripts run: times in the reader's own zone, and fresh figures.
for (const at of document.querySelectorAll("time[datetime]")) {
  const date = new Date(at.dateTime);
  at.title = at.textContent;
  at.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
const every = Number(document.body.dataset.refresh || 0);
if (every) {
  setInterval(() => {
    const busy = document.activeElement && document.activeElement.matches("input,select,textarea");
    if (!document.hidden && !busy) location.reload();
  }, every * 1000);
}

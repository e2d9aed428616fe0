// The event handlers of the page.

$("controls").addEventListener("submit", (event) => event.preventDefault());
$("controls").addEventListener("input", filter);
$("reset").addEventListener("click", () => {
  $("controls").reset();
  filter();
  chosen().focus();
});
$("earlier").addEventListener("click", () => turn(-1));
$("later").addEventListener("click", () => turn(1));
$("copy")?.addEventListener("click", async () => {
  const command = $("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command); // some browsers forbid it
  }
});

let waiting = false;
function soon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    render();
  });
}
addEventListener("scroll", soon, { passive: true });
new ResizeObserver(() => {
  measure();
  for (const [index, card] of cards) place(card, index);
  render();
}).observe(list.parentElement);

filter();

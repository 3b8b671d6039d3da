// The end of a login that the page began: hands the answer to the page, which waits under the login's own state.
const WAIT_MILLISECONDS = 5000;

const answer = new URLSearchParams(location.search);
const state = answer.get("state") ?? "";
// The code is good once, and for the page alone; still it has no business in the history.
history.replaceState(null, "", location.pathname);

const channel = new BroadcastChannel(`fluidmcp login ${state}`);
channel.addEventListener("message", (event) => {
  if (event.data?.kind === "taken") {
    channel.close();
    window.close();
  }
});
channel.postMessage({ kind: "answer", fields: Object.fromEntries(answer) });
setTimeout(() => {
  document.getElementById("outcome").textContent =
    "The page that began this login does not answer. Close this window, open the page again and log in there.";
}, WAIT_MILLISECONDS);

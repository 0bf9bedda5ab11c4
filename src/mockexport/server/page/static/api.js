// Requests to the server. The token is asked for once, and kept in this module's memory alone.

const SILENT = 40_000; // milliseconds after which a stream is lost: the server sends something every 15 seconds
let token = null;
let asking = null;

/** An answer that is an error, in the server's words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Send a request with the token; ask for the token if the server wants one. Throws Refused. */
export async function request(path, options = {}) {
  for (;;) {
    const sent = token;
    const headers = { ...options.headers, ...(sent ? { Authorization: `Bearer ${sent}` } : {}) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server does not answer. Is it still running?");
    });
    if (response.status === 401) {
      if (token === sent) await askForToken(sent !== null);
      continue;
    }
    if (!response.ok) throw new Refused(response.status, await reason(response));
    return response;
  }
}

export const json = async (path, options) => (await request(path, options)).json();

export function post(path, document) {
  return json(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(document),
  });
}

async function reason(response) {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text);
    if (typeof detail === "string") return detail;
  } catch {
    // not JSON: the status has to do
  }
  return `The server answered ${response.status}.`;
}

function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token");
    const text = document.getElementById("token-text");
    const why = document.getElementById("token-why");
    const refuse = () => {
      why.textContent = "";
      why.textContent = "The server refused this token. Check it, and try again.";
      why.classList.add("bad");
      why.setAttribute("role", "alert"); // what is outside of the dialog is not read out meanwhile
      text.setAttribute("aria-invalid", "true");
    };
    if (refused) refuse();
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => asking && dialog.showModal(); // a second Escape closes it, and nothing works without a token
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      const given = text.value.trim();
      text.value = "";
      if (!/^[!-~]+$/.test(given)) return refuse(); // no server has such a token, and no header can carry it
      token = given;
      asking = null;
      dialog.close();
      resolve();
    };
    dialog.showModal();
    text.focus();
  });
  return asking;
}

/**
 * Read server-sent events until the stream ends or `signal` is aborted; `opened` is called when it has begun.
 * Throws Refused when the connection is lost, also when nothing comes any more, as after a sleep of this machine.
 * EventSource cannot send the token, so this reads the stream itself.
 */
export async function events(path, signal, take, opened = () => {}) {
  const ending = new AbortController();
  const end = () => ending.abort();
  let silence = setTimeout(end, SILENT);
  signal.addEventListener("abort", end);
  try {
    const response = await request(path, { signal: ending.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let begun = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(end, SILENT);
      if (!begun) opened();
      begun = true;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) take(JSON.parse(part.slice(6)));
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof Refused ? error : new Refused(0, "The connection to the server was lost.");
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", end);
    end();
  }
}

/** Wait, unless the signal is aborted before. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}

"use strict";
// Requests to the server of this page. Its key, if it has one, stays in the field of the page.

function headers() {
  const key = get("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

// A response that is not 200 as an Error with status and code; 401 shows the field of the key.
async function failure(response) {
  const error = new Error("lost");
  error.status = response.status;
  try {
    const body = await response.json();
    [error.message, error.code] = [body.error.message, body.error.code];
  } catch { /* not JSON: the first message stays */ }
  if (response.status === 401) {
    const hidden = get("locked").classList.contains("hidden");
    get("locked").classList.remove("hidden");
    if (hidden) get("key").focus();
    error.message = "locked";
  }
  return error;
}

// The JSON that the server answers to GET, or to POST if there is a body.
async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(path, { ...options, headers: headers() });
  if (!response.ok) throw await failure(response);
  return response.json();
}

// An error in the status line: what the server wrote, or that it does not answer.
const complain = (error) => say(true, error.status ? error.message : "lost");

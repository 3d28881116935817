"use strict";

// Requests to what is served, with the same as lines of curl and Python.

let clients = null;

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const task = () => document.querySelector('input[name="task"]:checked').value;

const tasks = {
  embed: {
    route: "embeddings", likes: (id) => !/instruct|chat|rerank|cross/i.test(id),
    body: () => ({ input: [by("first").value, by("second").value] }),
    python: (body) => [`client.embeddings.create(**${pythonOf(body)})`, "print([item.embedding[:3] for item in answer.data])"],
    show: showSimilarity,
  },
  chat: {
    route: "chat/completions", likes: (id) => /instruct|chat|gpt|llama|qwen|smol/i.test(id),
    body: () => ({ messages: [{ role: "user", content: by("message").value }], max_tokens: 200, stream: true }),
    python: (body) => [`client.chat.completions.create(**${pythonOf(body)})`, 'for part in answer:\n    print(part.choices[0].delta.content or "", end="", flush=True)'],
    show: showChat,
  },
  rerank: {
    route: "rerank", likes: (id) => /rerank|cross/i.test(id),
    body: () => ({ query: by("query").value, documents: lines(by("documents").value) }),
    show: showRanking,
  },
};

const request = () => ({ model: by("model").value, ...tasks[task()].body() });

// A JSON value as Python writes it.
function pythonOf(value) {
  if (Array.isArray(value)) return `[${value.map(pythonOf).join(", ")}]`;
  if (value && typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${pythonOf(one)}`).join(", ")}}`;
  return typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value);
}

function showLines() {
  const { route, python } = tasks[task()];
  const body = request(), key = by("key").value ? "$API_KEY" : "";
  const authorization = key ? ` -H "authorization: Bearer ${key}"` : "";
  const whole = body.stream ? " --no-buffer" : "";
  setText(by("curl"), `curl${whole} ${clients}/v1/${route}${authorization} -H 'content-type: application/json' -d ${shellQuoted(JSON.stringify(body))}`);
  const secret = key ? 'os.environ["API_KEY"]' : '"none"';
  const head = key ? "import os\n" : "";
  if (python) {
    const [call, print] = python(body);
    setText(by("python"), `${head}from openai import OpenAI\n\nclient = OpenAI(base_url="${clients}/v1", api_key=${secret})\nanswer = ${call}\n${print}`);
  } else {
    const headers = key ? `, headers={"authorization": "Bearer " + ${secret}}` : "";
    setText(by("python"), `${head}import requests\n\nanswer = requests.post("${clients}/v1/${route}", json=${pythonOf(body)}${headers})\nprint(answer.json()["results"])`);
  }
}

function showTask() {
  for (const part of document.querySelectorAll(".task")) part.hidden = part.dataset.task !== task();
  const liked = Array.from(by("model").options).find((option) => tasks[task()].likes(option.value));
  if (liked) by("model").value = liked.value;
  by("result").replaceChildren();
  showLines();
}

async function ask(route, body) {
  const headers = { "content-type": "application/json" };
  if (by("key").value) headers.authorization = `Bearer ${by("key").value}`;
  return fetch(`api/try/v1/${route}`, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
}

async function whyNot(answer) {
  const text = await answer.text();
  try {
    const { error } = JSON.parse(text);
    return `${answer.status}: ${error.message || error}`;
  } catch {
    return `${answer.status}: ${text}`;
  }
}

async function showSimilarity(answer, took) {
  const [a, b] = (await answer.json()).data.map((item) => item.embedding);
  const dot = (x, y) => x.reduce((sum, value, at) => sum + value * y[at], 0);
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  by("result").replaceChildren(
    element("span", cosine.toFixed(3), { class: "score" }),
    element("span", ` cosine similarity, of vectors of ${a.length} numbers, in ${duration(took())}`),
  );
}

async function showRanking(answer, took) {
  const { results } = await answer.json();
  const documents = lines(by("documents").value);
  const list = element("ol");
  list.append(...results.map((one) => element("li", `${one.relevance_score.toFixed(3)}  ${documents[one.index]}`)));
  by("result").replaceChildren(list, element("span", `in ${duration(took())}`));
}

// Server-sent events: each part is written as it comes.
async function showChat(answer, took) {
  const target = element("span");
  by("result").replaceChildren(target);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", parts = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const events = (rest + value).split("\n");
    rest = events.pop();
    for (const line of events.filter((line) => line.startsWith("data: ") && line !== "data: [DONE]")) {
      const { choices, error } = JSON.parse(line.slice(6));
      if (error) throw new Error(error.message);
      const text = choices?.[0]?.delta?.content;
      if (text) { target.append(text); parts += 1; }
    }
  }
  by("result").append(element("div", `${parts} parts in ${duration(took())}`, { class: "soft" }));
}

async function tryIt(event) {
  event.preventDefault();
  const { route, show } = tasks[task()];
  const began = performance.now();
  by("send").disabled = true;
  setText(by("result"), "waiting for the answer");
  try {
    const answer = await ask(route, request());
    if (answer.ok) await show(answer, () => performance.now() - began);
    else setText(by("result"), `refused, ${await whyNot(answer)}`);
  } catch (error) {
    setText(by("result"), `no answer: ${error.message}`);
  }
  by("send").disabled = false;
}

async function copy(event) {
  const button = event.target;
  await navigator.clipboard.writeText(by(button.dataset.of).textContent);
  setText(button, "Copied");
  setTimeout(() => setText(button, "Copy"), 2000);
}

async function startPlayground() {
  clients = (await (await fetch("api/try")).json()).clients;
  by("try-off").hidden = clients != null;
  by("try-on").hidden = clients == null;
  if (clients == null) return;
  const answer = await ask("models");
  const models = answer.ok ? (await answer.json()).data : [];
  by("model").replaceChildren(...models.map(({ id }) => element("option", id, { value: id })));
  showTask();
  by("try-form").addEventListener("submit", tryIt);
  by("try-form").addEventListener("input", showLines);
  for (const one of document.querySelectorAll('input[name="task"]')) one.addEventListener("change", showTask);
  for (const one of document.querySelectorAll(".copy")) {
    // Browsers have a clipboard only for pages from this machine or by TLS.
    one.hidden = !navigator.clipboard;
    one.addEventListener("click", copy);
  }
}

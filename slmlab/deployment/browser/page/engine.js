// What both pages share: what this browser can do, bringing a model here, and running it.

import { Wllama } from './wllama/index.js';

const WASM = { default: './wllama/wllama.wasm' };
const ON_GPU = /offloaded [1-9]\d*\/|WebGPU\S* +model buffer/;

/** What the site offers: its models, the threads worth asking for, and what is to be measured. */
export async function getPlan() {
  const answer = await fetch('./plan.json');
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}

/** What this browser is and can do. */
export async function getAbilities() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  const { vendor, architecture, description } = adapter?.info ?? {};
  const gpu = [vendor, architecture, description].filter(Boolean).join(' ') || 'some GPU';
  return {
    browser: await getBrowser(),
    cores: navigator.hardwareConcurrency ?? 1,
    isolated: self.crossOriginIsolated === true,
    webgpu: adapter ? gpu : null,
  };
}

async function getBrowser() {
  const asked = navigator.userAgentData?.getHighEntropyValues(['fullVersionList']);
  const { fullVersionList = [] } = (await asked?.catch(() => ({}))) ?? {};
  const real = fullVersionList.filter(({ brand }) => !/not.*brand/i.test(brand));
  const named = real.find(({ brand }) => brand !== 'Chromium') ?? real[0];
  return named ? `${named.brand} ${named.version}` : navigator.userAgent;
}

/** A runner of models that keeps what llama.cpp says instead of printing it. */
export function newRunner(paths = WASM) {
  const said = [];
  const keep = (...words) => said.push(words.join(' '));
  const runner = new Wllama(paths, { logger: { debug: keep, log: keep, warn: keep, error: keep } });
  return Object.assign(runner, { said });
}

/** Bring a model into this browser's own storage, unless it is there already. */
export function bring(runner, model, { onProgress, signal } = {}) {
  const source = { url: new URL(model.url, location.href).href };
  return runner.modelManager.getModelOrDownload(source, { progressCallback: onProgress, signal });
}

/** Delete what was brought into this browser's storage; returns whether there was anything. */
export async function forgetModels() {
  const home = await navigator.storage.getDirectory();
  try {
    await home.removeEntry('cache', { recursive: true });
    return true;
  } catch (problem) {
    if (problem.name !== 'NotFoundError') throw problem;
    return false;
  }
}

/** Load a model that was brought here; `gpu` lets all of it go to WebGPU. */
export async function load(runner, stored, { threads, context, gpu = false }) {
  await runner.loadModel(stored, {
    n_ctx: context,
    n_threads: threads,
    n_parallel: 1,
    n_gpu_layers: gpu ? undefined : 0,
  });
  if (!runner.getLoadedContextInfo().success) {
    // wllama 3.8 goes on where llama.cpp could not load the model; only the log says why.
    const reasons = runner.said.filter((line) => /fail|invalid/.test(line) && !/webgpu/.test(line));
    throw new Error(reasons.join('; '));
  }
}

/** What computes, in words: llama.cpp's own, for a GPU may be there and not be used. */
export function getBackend(runner) {
  if (runner.said.some((line) => ON_GPU.test(line))) return 'WebGPU';
  const threads = getThreads(runner);
  return `WebAssembly, ${threads} ${threads > 1 ? 'threads' : 'thread'}`;
}

/** How many threads compute: one where the page may not share memory between threads. */
export function getThreads(runner) {
  return runner.isMultithread() ? runner.getNumThreads() : 1;
}

/**
 * Have the model write, always the most likely token. `request` has `messages` or a `prompt`;
 * `onText` gets each piece. Returns the text and how fast it came by this page's clock, also
 * where `signal` stopped it.
 */
export async function write(runner, request, { onText, signal } = {}) {
  const stamps = [];
  const start = performance.now();
  let [text, timings, finish, stopped] = ['', null, null, false];
  const onData = (chunk) => {
    const choice = chunk.choices[0];
    const piece = choice?.delta?.content ?? choice?.text ?? '';
    finish = choice?.finish_reason ?? finish;
    timings = chunk.timings ?? timings;
    if (!piece) return;
    stamps.push(performance.now());
    text += piece;
    onText?.(text);
  };
  const call = request.messages ? 'createChatCompletion' : 'createCompletion';
  const options = { temperature: 0, ...request, stream: true, onData, abortSignal: signal };
  try {
    await runner[call](options);
  } catch (problem) {
    if (problem.name !== 'AbortError') throw problem;
    stopped = true;
  }
  const seconds = stamps.length > 1 ? (stamps.at(-1) - stamps[0]) / 1000 : 0;
  const counted = timings ? timings.predicted_n - (finish === 'stop' ? 1 : 0) : stamps.length;
  return {
    text,
    stopped,
    finish,
    prompt_tokens: timings?.prompt_n ?? 0,
    seconds_to_first_token: ((stamps[0] ?? performance.now()) - start) / 1000,
    new_tokens: counted,
    decode_tokens_per_second: seconds ? (counted - 1) / seconds : 0,
  };
}

/** An error whose message is already a sentence for the reader. */
export function obstacle(sentence) {
  return Object.assign(new Error(sentence), { explained: true });
}

/** Throw a sentence where this browser cannot run a model. */
export function mustRun() {
  if (typeof WebAssembly !== 'object') {
    throw obstacle('This browser has no WebAssembly, or it is off; use a current browser.');
  }
  // A function with one SIMD instruction: wllama's own test, from wasm-feature-detect.
  const simd = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0];
  if (!WebAssembly.validate(new Uint8Array([...simd, 65, 0, 253, 15, 253, 98, 11]))) {
    throw obstacle('The WebAssembly of this browser has no SIMD, which llama.cpp needs; update it.');
  }
  if (!navigator.storage?.getDirectory) {
    throw obstacle('This browser gives the page no room for a model; leave private browsing.');
  }
}

/** What went wrong, in a sentence that says what to do. */
export function explain(problem) {
  if (problem?.explained) return problem.message;
  const said = String(problem?.message ?? problem);
  if (/HTTP 404/.test(said)) {
    return 'The model is not there (404): its file was moved or deleted; run the cell of the lab that starts this site again.';
  }
  if (/Failed to fetch|NetworkError|Load failed|network error|HTTP \d+/.test(said)) {
    return 'The site does not answer: run the cell of the lab that starts it again, and open its new address.';
  }
  if (problem?.name === 'NoModificationAllowedError') {
    return 'Another tab is using a stored model: close it, and try again.';
  }
  if (/quota|QuotaExceeded|No space/i.test(`${problem?.name} ${said}`)) {
    return 'There is no room for the model on this disk, or the browser grants the page too little; make room and try again.';
  }
  if (/memory|allocat|out of bounds|RangeError/i.test(`${problem?.name} ${said}`)) {
    return 'There is not enough memory for the model in this tab; close other tabs, or take a smaller model.';
  }
  if (/context|kv_cache_full|exceed/i.test(`${problem?.type} ${said}`)) {
    return 'The conversation is longer than the model’s context; clear it and ask again.';
  }
  if (/failed to load model|magic|gguf/i.test(said)) {
    return 'llama.cpp cannot read this file: it is damaged, or not a model; make it anew in the lab.';
  }
  return `Something went wrong that was not foreseen (${said}); reload the page.`;
}

/** The name of a model without the ending that all of them have. */
export function shortName(model) {
  return model.replace(/\.gguf$/, '');
}

/** Bytes as people read them. */
export function inWords(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

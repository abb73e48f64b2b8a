// Loads each model with each number of threads, measures, and reports to the site.

import * as engine from './engine.js';
import { tryOldLines } from './old.js';

const at = (id) => document.getElementById(id);
const report = { done: false, problem: null, runs: [], old: [] };

async function send() {
  await fetch('./report', { method: 'POST', body: JSON.stringify(report) });
}

function say(words) {
  at('state').textContent = words;
}

function showProgress({ loaded, total }) {
  const percent = total ? Math.round((100 * loaded) / total) : 0;
  at('progress').setAttribute('aria-valuenow', percent);
  at('progress').firstElementChild.style.width = `${percent}%`;
}

function showRun(run) {
  const prompt = run.prompt_tokens && run.prompt_tokens / run.seconds_to_first_token;
  const cells = [
    engine.shortName(run.model),
    run.backend,
    engine.inWords(run.downloaded_bytes),
    `${run.load_seconds.toFixed(1)} s`,
    prompt ? `${prompt.toFixed(1)} tokens/s` : 'not counted',
    `${run.decode_tokens_per_second.toFixed(1)} tokens/s`,
  ];
  const row = at('rows').insertRow();
  for (const cell of cells) row.insertCell().textContent = cell;
}

/** The bytes that came over the network since the last call, as the browser counts them. */
function countDownload(model) {
  const asked = performance.getEntriesByName(new URL(model.url, location.href).href);
  const bytes = asked.reduce((sum, entry) => sum + entry.encodedBodySize, 0);
  performance.clearResourceTimings();
  return bytes;
}

/** Have the model write for as long as the plan allows. */
async function write(runner, model, plan) {
  const signal = AbortSignal.timeout(1000 * plan.limit_seconds);
  const request = { prompt: plan.prompt, max_tokens: plan.max_tokens, cache_prompt: false };
  const written = await engine.write(runner, request, { signal });
  if (written.stopped && written.new_tokens < 2) {
    throw engine.obstacle(
      `${model.name} wrote too little to measure in ${plan.limit_seconds} s ` +
        `(${engine.getBackend(runner)}); take a smaller model.`,
    );
  }
  return written;
}

async function measure(model, plan, { threads, gpu }) {
  const runner = engine.newRunner();
  try {
    say(`${model.name}: downloading …`);
    const stored = await engine.bring(runner, model, { onProgress: showProgress });
    say(`${model.name}: loading …`);
    const start = performance.now();
    await engine.load(runner, stored, { threads, gpu, context: plan.context });
    const load_seconds = (performance.now() - start) / 1000;
    say(`${model.name}: ${engine.getBackend(runner)}, writing …`);
    // The engine of the browser translates what runs often into faster code: let it, first.
    await engine.write(runner, { prompt: 'Hello', max_tokens: 8 });
    const written = await write(runner, model, plan);
    if (plan.old && !report.old.length) report.old = await tryOldLines(runner);
    return {
      model: model.name,
      backend: engine.getBackend(runner),
      threads: engine.getThreads(runner),
      downloaded_bytes: countDownload(model),
      load_seconds,
      ...written,
    };
  } finally {
    await runner.exit();
  }
}

/** The largest of some sizes, in bytes, that can be made; 0 where none can. */
function largest(sizes, make) {
  const works = (size) => {
    try {
      make(size);
      return true;
    } catch {
      return false;
    }
  };
  return Math.max(0, ...sizes.filter(works));
}

/** What one tab may hold: tried, and given back. */
async function getLimits() {
  const gib = 2 ** 30;
  const page = 65536;
  const { quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  return {
    array_buffer_bytes: largest([1, 2, 4].map((n) => n * gib), (size) => new ArrayBuffer(size)),
    memory32_bytes: largest([2, 4, 8].map((n) => n * gib), (size) => {
      return new WebAssembly.Memory({ initial: size / page });
    }),
    memory64_bytes: largest([4, 8, 16, 32].map((n) => n * gib), (size) => {
      return new WebAssembly.Memory({ address: 'i64', initial: BigInt(size / page) });
    }),
    storage_bytes: quota,
  };
}

async function main() {
  engine.mustRun();
  const plan = await engine.getPlan();
  Object.assign(report, await engine.getAbilities(), { limits: await getLimits() });
  at('about').textContent =
    `${report.browser}, ${report.cores} cores; ` +
    `threads ${report.isolated ? 'allowed' : 'not allowed: the page is not cross-origin isolated'}; ` +
    `WebGPU: ${report.webgpu ?? 'none'}.`;
  const ways = plan.threads.map((threads) => ({ threads, gpu: false }));
  if (report.webgpu) ways.push({ threads: plan.threads.at(-1), gpu: true });
  for (const model of plan.models) {
    for (const way of ways) {
      const run = await measure(model, plan, way);
      report.runs.push(run);
      showRun(run);
      await send();
    }
  }
}

try {
  await main();
  say('Done. The lab has the numbers; this tab may be closed.');
} catch (problem) {
  report.problem = engine.explain(problem);
  at('problem').textContent = report.problem;
  at('problem').hidden = false;
  say('Stopped.');
}
report.done = true;
await send();

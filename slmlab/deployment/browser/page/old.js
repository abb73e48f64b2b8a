// Lines that lessons print and that no longer work; what each says today.

import { newRunner } from './engine.js';

const BEFORE_3 = {
  'single-thread/wllama.wasm': './wllama/single-thread/wllama.wasm',
  'multi-thread/wllama.wasm': './wllama/multi-thread/wllama.wasm',
};

const LINES = [
  {
    line: "new Wllama({ 'single-thread/wllama.wasm': … }).loadModel(…)",
    run: () => newRunner(BEFORE_3).loadModel([new Blob(['x'])]),
  },
  {
    line: "wllama.createCompletion('Hello', { nPredict: 2, sampling: { temp: 0 } })",
    run: (runner) => runner.createCompletion('Hello', { nPredict: 2, sampling: { temp: 0 } }),
  },
  { line: "wllama.tokenize('Hello')", run: (runner) => runner.tokenize('Hello') },
];

/** Run each line with a model that is loaded, and return it with what came of it. */
export async function tryOldLines(runner) {
  const found = [];
  for (const { line, run } of LINES) {
    try {
      found.push({ line, came: `worked: ${JSON.stringify(await run(runner))}` });
    } catch (problem) {
      found.push({ line, came: `${problem.name}: ${problem.message}` });
    }
  }
  return found;
}

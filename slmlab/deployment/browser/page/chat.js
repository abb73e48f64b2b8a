// A conversation with a model that runs in this tab.

import * as engine from './engine.js';

const at = (id) => document.getElementById(id);
const LONGEST_ANSWER = 512;
const BEFORE = { about: at('about').textContent, title: document.title };

let runner = null;
let plan = null;
let messages = [];
let bringing = null; // aborts the download
let answering = null; // aborts the answer
let ended = Promise.resolve(); // until the answer has ended
let waits = false; // whether a question is to be sent when the answer has ended
let conversation = 0; // grows when the conversation is cleared: what belongs to an older one goes

function tell(words) {
  at('status').textContent = words;
}

function showProblem(problem) {
  at('problem').textContent = problem ?? '';
  at('problem').hidden = !problem;
  if (!problem) return;
  tell('');
  at('problem').scrollIntoView({ block: 'nearest' });
}

function showProgress({ loaded, total }) {
  const percent = total ? Math.floor((100 * loaded) / total) : 0;
  const words = `${engine.inWords(loaded)} of ${engine.inWords(total)}, ${percent} %`;
  at('progress').setAttribute('aria-valuenow', percent);
  at('progress').setAttribute('aria-valuetext', words);
  at('progress').firstElementChild.style.width = `${percent}%`;
  at('loaded-words').textContent = words;
}

function showBringing(on) {
  at('bringing').hidden = !on;
  at('load').disabled = on;
  at('forget').disabled = on;
  at('model').disabled = on;
  at('cancel').disabled = false;
}

async function start(model) {
  showProblem(null);
  showBringing(true);
  showProgress({ loaded: 0, total: model.bytes });
  at('cancel').focus();
  tell(`Loading ${model.name}`);
  bringing = new AbortController();
  const { signal } = bringing;
  runner = engine.newRunner();
  try {
    const stored = await engine.bring(runner, model, { onProgress: showProgress, signal });
    bringing = null;
    at('cancel').disabled = true;
    at('loaded-words').textContent += ': starting the model …';
    await loadWhereItRuns(stored);
    showChat(model);
  } catch (problem) {
    await runner.exit();
    showBringing(false);
    at('load').focus();
    if (signal.aborted) tell('Cancelled.');
    else showProblem(engine.explain(problem));
  }
}

/** Load a model on the GPU, if there is one, and without it where that fails. */
async function loadWhereItRuns(stored) {
  const how = { threads: plan.threads.at(-1), context: plan.context };
  const { webgpu } = await engine.getAbilities();
  if (webgpu) {
    try {
      return await engine.load(runner, stored, { ...how, gpu: true });
    } catch {
      await runner.exit();
      runner = engine.newRunner();
    }
  }
  return engine.load(runner, stored, how);
}

function show({ chat }) {
  at('choosing').hidden = chat;
  for (const id of ['asking', 'clear', 'change', 'log']) at(id).hidden = !chat;
}

function showChat(model) {
  show({ chat: true });
  at('about').textContent = `${model.name} · ${engine.getBackend(runner)} · stays on this machine`;
  document.title = `${model.name}: chat`;
  tell('The model is ready.');
  at('question').focus();
}

/** Go back to the choice of a model; an answer that still runs ends first. */
async function changeModel() {
  clear();
  show({ chat: false });
  showBringing(false);
  at('load').disabled = true;
  at('about').textContent = BEFORE.about;
  document.title = BEFORE.title;
  at('model').focus();
  tell('Stopping the model …');
  await ended;
  await runner.exit();
  at('load').disabled = false;
  tell('Choose a model.');
}

async function forget() {
  showProblem(null);
  try {
    const found = await engine.forgetModels();
    tell(found ? 'The stored models were deleted.' : 'No model was stored.');
  } catch (problem) {
    showProblem(engine.explain(problem));
  }
}

function addTurn(who, text) {
  const item = document.createElement('li');
  const name = document.createElement('p');
  const words = document.createElement('p');
  name.className = 'who';
  name.textContent = who;
  words.className = 'text';
  words.dir = 'auto';
  words.textContent = text;
  item.append(name, words);
  item.className = who === 'You' ? 'mine' : '';
  at('conversation').append(item);
  item.scrollIntoView({ block: 'end' });
  return { item, words };
}

/** Follow the text as it grows, unless the reader has scrolled up. */
function follow(change) {
  const log = at('log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function addFoot(item, answer) {
  const foot = document.createElement('div');
  const button = document.createElement('button');
  const speed = document.createElement('span');
  foot.className = 'below';
  button.type = 'button';
  button.textContent = 'Copy';
  button.addEventListener('click', () => copy(button, answer.text));
  speed.className = 'small';
  speed.textContent = [
    answer.decode_tokens_per_second && `${answer.decode_tokens_per_second.toFixed(1)} tokens/s`,
    answer.stopped && 'stopped',
    answer.finish === 'length' && 'cut off: the longest answer was reached',
  ]
    .filter(Boolean)
    .join(' · ');
  foot.append(button, speed);
  follow(() => item.append(foot));
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
    tell('The answer was copied.');
  } catch {
    button.textContent = 'Not copied';
    tell('The browser did not allow copying: select the text and copy it.');
  }
  setTimeout(() => (button.textContent = 'Copy'), 2000);
}

function showAnswering(on) {
  at('stop').disabled = !on;
  at('log').setAttribute('aria-busy', on);
}

async function ask(question) {
  showProblem(null);
  const mine = ++conversation;
  messages.push({ role: 'user', content: question });
  const asked = addTurn('You', question);
  const { item, words } = addTurn('Model', '…');
  const stopping = new AbortController();
  answering = stopping;
  showAnswering(true);
  const onText = (text) => follow(() => (words.textContent = text));
  try {
    const request = { messages, max_tokens: LONGEST_ANSWER };
    const answer = await engine.write(runner, request, { onText, signal: stopping.signal });
    if (mine !== conversation) return;
    words.textContent = answer.text || '(nothing)';
    messages.push({ role: 'assistant', content: answer.text });
    addFoot(item, answer);
    tell(answer.stopped ? 'Stopped.' : 'The answer is complete.');
  } catch (problem) {
    if (mine !== conversation) return;
    messages.pop();
    asked.item.remove();
    item.remove();
    at('question').value ||= question;
    showProblem(engine.explain(problem));
  } finally {
    answering = null;
    showAnswering(false);
  }
}

function stop() {
  if (!answering) return;
  answering.abort();
  at('stop').disabled = true;
  at('question').focus();
}

function clear() {
  stop();
  waits = false;
  conversation += 1;
  messages = [];
  at('conversation').replaceChildren();
  showProblem(null);
  tell('The conversation was cleared.');
  at('question').focus();
}

async function submit() {
  const question = at('question').value.trim();
  if (!question) return;
  if (answering) return wait();
  at('question').value = '';
  at('question').focus();
  ended = ask(question);
  await ended;
  if (!waits) return;
  waits = false;
  submit();
}

/** Keep a question for when the answer that is being stopped has ended. */
function wait() {
  waits = answering.signal.aborted;
  if (waits) tell('The question is sent when the answer has stopped.');
  else tell('The model is still answering; Escape stops it.');
}

at('choose').addEventListener('submit', (event) => {
  event.preventDefault();
  start(plan.models[at('model').selectedIndex]);
});
at('cancel').addEventListener('click', () => bringing?.abort());
at('stop').addEventListener('click', stop);
at('clear').addEventListener('click', clear);
at('change').addEventListener('click', changeModel);
at('forget').addEventListener('click', forget);
at('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
at('question').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  if (!at('bringing').hidden) bringing?.abort();
  stop();
});

try {
  engine.mustRun();
  plan = await engine.getPlan();
  for (const model of plan.models) {
    const words = `${engine.inWords(model.bytes)} · ${engine.shortName(model.name)}`;
    at('model').add(new Option(words));
  }
  if (!plan.models.length) throw engine.obstacle('This site has no model; start it with one.');
  at('load').focus();
} catch (problem) {
  showProblem(engine.explain(problem));
  at('load').disabled = true;
}

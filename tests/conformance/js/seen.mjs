// What a probe of the TypeScript SDK starts from, and how it tells what it saw.
import { createHash } from 'node:crypto';
import { pathToFileURL } from 'node:url';

// Node 18, which Debian 12 has, knows File but not as a global; the SDK asks for it in these words.
globalThis.File ??= (await import('node:buffer')).File;

const at = (file) => pathToFileURL(`${process.argv[2]}/${file}`).href;
export const { default: Anthropic, toFile } = await import(at('index.mjs'));
export const { VERSION } = await import(at('version.mjs'));

export const MODEL = 'claude-sonnet-5-5';
export const HELLO = [{ role: 'user', content: 'Grüße! Count on. 你好 🎉 [[simulate output=60]]' }];
export const LONG = [{ role: 'user', content: 'Write a long story. [[simulate output=20000]]' }];
export const WEATHER = {
  name: 'get_weather',
  description: 'The weather in a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

// The options that let the simulator strike with a fault.
export const under = (fault) => ({ headers: { 'x-simulator-fault': fault } });
export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
export const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');

export async function all(list) {
  const found = [];
  for await (const one of list) found.push(one);
  return found;
}

export function raised(error) {
  const found = { class: error.constructor.name, text: error.message };
  if (error.status !== undefined) {
    found.status = error.status;
    found.body = error.error;
    found.request_id = error.requestID;
    for (const name of ['content-type', 'retry-after', 'x-should-retry']) found[name] = error.headers?.get(name) ?? null;
  }
  return found;
}

export async function outcomeOf(call) {
  try {
    return seen(await call());
  } catch (error) {
    if (!(error instanceof Anthropic.AnthropicError)) throw error;
    return raised(error);
  }
}

// The request id is no enumerable property of an answer, so JSON would leave it out.
export const seen = (thing) => (thing?._request_id ? { ...thing, _request_id: thing._request_id } : thing);

export async function watched(call) {
  const events = [];
  try {
    for await (const event of await call()) events.push(event.type);
  } catch (error) {
    return { events, error };
  }
  return { events, error: null };
}

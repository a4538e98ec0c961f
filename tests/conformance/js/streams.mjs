// Streams that test a relay: big, slow, compressed, broken, left, many at once.
import { createHash } from 'node:crypto';

import { HELLO, LONG, MODEL, outcomeOf, raised, seen, under, watched } from './seen.mjs';

export async function big_stream(client) {
  const text = createHash('sha256');
  let count = 0;
  const asked = { model: MODEL, max_tokens: 20000, messages: LONG, stream: true };
  for await (const event of await client.messages.create(asked)) {
    count += 1;
    if (event.type === 'content_block_delta') text.update(event.delta.text);
  }
  return { events: count, text: text.digest('hex') };
}

export async function slow_stream(client) {
  const asked = { model: MODEL, max_tokens: 40, messages: HELLO, stream: true };
  const events = [];
  const arrived = [];
  for await (const event of await client.messages.create(asked, under('slow_drip=0.1'))) {
    events.push(event.type);
    arrived.push(Date.now());
  }
  return { events, 'one by one': arrived.at(-1) - arrived[0] > (100 * arrived.length) / 2 };
}

export async function compressed(client) {
  const asked = { model: MODEL, max_tokens: 60, messages: HELLO };
  return {
    plain: seen(await client.messages.create(asked, under('gzip'))),
    streamed: await client.messages.stream(asked, under('gzip')).finalMessage(),
    error: await outcomeOf(() => client.messages.create(asked, under('gzip, error'))),
  };
}

export async function broken_streams(client, { fault }) {
  const asked = { model: MODEL, max_tokens: 400, messages: HELLO, stream: true };
  const { events, error } = await watched(() => client.messages.create(asked, under(fault)));
  return { events, raised: error && raised(error) };
}

export async function cut_stream(client) {
  const asked = { model: MODEL, max_tokens: 400, messages: HELLO, stream: true };
  const { events, error } = await watched(() => client.messages.create(asked, under('cut=4')));
  return { events, whole: error === null };
}

export async function left_midway(client) {
  const asked = { model: MODEL, max_tokens: 4000, messages: LONG, stream: true };
  const stream = await client.messages.create(asked, under('slow_drip=0.05'));
  for await (const event of stream) {
    if (event.type === 'content_block_delta') {
      stream.controller.abort();
      return event.type;
    }
  }
}

export async function left_before_the_first_byte(client) {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 500);
  const asked = { model: MODEL, max_tokens: 400, messages: HELLO };
  const options = { ...under('slow_first_byte=20'), signal: controller.signal };
  return raised(await client.messages.create(asked, options).catch((error) => error)).class;
}

export async function asynchronous(client) {
  const both = async (n) => {
    const asked = { model: MODEL, max_tokens: 40, messages: [{ role: 'user', content: `Number ${n}.` }] };
    const streamed = await client.messages.stream(asked).finalMessage();
    return [seen(await client.messages.create(asked)), streamed];
  };
  return Promise.all(Array.from({ length: 20 }, (_, n) => both(n)));
}

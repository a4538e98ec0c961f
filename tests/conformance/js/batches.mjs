// Message batches: their life, their results, their pages.
import { Anthropic, HELLO, MODEL, all, seen, sleep } from './seen.mjs';

async function ended(client, id) {
  for (const deadline = Date.now() + 20000; Date.now() < deadline; await sleep(0.1)) {
    const batch = await client.messages.batches.retrieve(id);
    if (batch.processing_status === 'ended') return batch;
  }
  throw new Error(`${id} has not ended within 20 seconds`);
}

// A batch that ended may be billed a moment later, and stays until then.
async function deleted(client, id) {
  for (const deadline = Date.now() + 20000; ; await sleep(0.2)) {
    try {
      return seen(await client.messages.batches.delete(id));
    } catch (error) {
      if (!(error instanceof Anthropic.ConflictError) || Date.now() > deadline) throw error;
    }
  }
}

const batchOf = (...ids) => ({
  requests: ids.map((custom_id) => ({ custom_id, params: { model: MODEL, max_tokens: 30, messages: HELLO } })),
});

export async function batches(client) {
  const created = await client.messages.batches.create(batchOf('a', 'b', 'c'));
  const done = await ended(client, created.id);
  const results = await all(await client.messages.batches.results(created.id));
  const listed = (await all(client.messages.batches.list())).map((batch) => batch.id === created.id);
  return {
    created: seen(created),
    ended: seen(done),
    results: Object.fromEntries(results.map((line) => [line.custom_id, line]).sort(([a], [b]) => (a < b ? -1 : 1))),
    listed,
    deleted: await deleted(client, created.id),
    afterwards: (await all(client.messages.batches.list())).length,
  };
}

export async function batch_cancelled(client) {
  const created = await client.messages.batches.create(batchOf('a'));
  const cancelled = await client.messages.batches.cancel(created.id);
  const done = await ended(client, created.id);
  const results = await all(await client.messages.batches.results(created.id));
  return {
    cancelled: cancelled.processing_status,
    initiated: cancelled.cancel_initiated_at !== null,
    counts: done.request_counts,
    results: results.map((line) => [line.custom_id, line.result.type]).sort(),
  };
}

export async function batch_pages(client) {
  const made = [];
  for (let n = 0; n < 7; n++) made.push((await client.messages.batches.create(batchOf('a'))).id);
  const places = (list) => list.map((batch) => made.indexOf(batch.id));
  const page = await client.messages.batches.list({ limit: 3 });
  const before = await client.messages.batches.list({ limit: 2, before_id: made[3] });
  return {
    all: places(await all(client.messages.batches.list({ limit: 3 }))),
    'first page': [places(page.data), page.has_more, made.indexOf(page.first_id), made.indexOf(page.last_id)],
    before: places(before.data),
  };
}

// Errors with their exceptions, the edges of what is accepted, and the SDK's own retries.
import { HELLO, MODEL, outcomeOf, seen, under } from './seen.mjs';

export async function errors(client, { fault }) {
  return outcomeOf(() => client.messages.create({ model: MODEL, max_tokens: 20, messages: HELLO }, under(fault)));
}

export async function bad_requests(client) {
  const create = (changes, headers) =>
    outcomeOf(() =>
      client.messages.create({ model: MODEL, max_tokens: 20, messages: HELLO, ...changes }, { headers }),
    );
  return {
    'no messages': await create({ messages: [] }),
    'a field unknown to the API': await create({ field_of_tomorrow: null }),
    'negative max_tokens': await create({ max_tokens: -1 }),
    'unknown beta': await create({}, { 'anthropic-beta': 'not a beta' }),
    'unknown version': await create({}, { 'anthropic-version': '1999-01-01' }),
  };
}

export async function html_error(client) {
  const asked = { model: MODEL, max_tokens: 20, messages: HELLO };
  const error = await outcomeOf(() => client.messages.create(asked, under('html_502')));
  return { class: error.class, status: error.status };
}

export async function unknown_objects(client) {
  const found = {};
  for (const [name, call] of Object.entries({
    batch: () => client.messages.batches.retrieve('msgbatch_013Zva2CMHLNnXjNJJKqJ2EF'),
    file: () => client.files.retrieveMetadata('file_011CNha8iCJcU1wXNR6q4V8w'),
    download: () => client.files.download('file_011CNha8iCJcU1wXNR6q4V8w'),
    skill: () => client.skills.retrieve('skill_01JAbcdefghijklmnopqrstuvw'),
    agent: () => client.beta.agents.retrieve('agent_011CZkYpogX7uDKUyvBTophP'),
    path: () => client.get('/v1/no_such_thing'),
  })) {
    const error = await outcomeOf(call);
    found[name] = [error.class, error.status, error.body?.error?.type];
  }
  return found;
}

export async function too_large(client) {
  const messages = [{ role: 'user', content: 'x'.repeat(33 << 20) }];
  const error = await outcomeOf(() => client.messages.create({ model: MODEL, max_tokens: 20, messages }));
  return [error.class, error.status, error.body?.error?.type];
}

export async function large_request(client) {
  const page = Buffer.from('%PDF-1.4\n1 0 obj <</Type /Page>> endobj\n');
  const data = Buffer.concat([page, Buffer.alloc(18 << 20)]).toString('base64');
  const document = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data } };
  const content = [document, { type: 'text', text: 'Summarize.' }];
  return seen(await client.messages.create({ model: MODEL, max_tokens: 30, messages: [{ role: 'user', content }] }));
}

export async function retried(client) {
  const asked = { model: MODEL, max_tokens: 20, messages: HELLO };
  return seen(await client.messages.create(asked, { maxRetries: 4 }));
}

// Messages of every kind, counting, and the models.
import { HELLO, MODEL, WEATHER, all, seen } from './seen.mjs';

export async function messages(client) {
  const { data, response } = await client.messages
    .create(
      {
        model: MODEL,
        max_tokens: 200,
        messages: HELLO,
        system: [{ type: 'text', text: 'Be brief.' }, { type: 'text', text: 'Be kind.' }],
        stop_sequences: ['STOP'],
        metadata: { user_id: 'u-1' },
      },
      { headers: { 'x-unknown': 'passes', 'anthropic-beta': 'context-management-2025-06-27' } },
    )
    .withResponse();
  return { status: response.status, type: response.headers.get('content-type'), message: seen(data) };
}

export async function stream(client) {
  const stream = client.messages.stream({ model: MODEL, max_tokens: 400, messages: HELLO });
  const events = (await all(stream)).map((event) => event.type);
  return { events, message: await stream.finalMessage(), request_id: stream.request_id };
}

export async function events(client) {
  return all(await client.messages.create({ model: MODEL, max_tokens: 60, messages: HELLO, stream: true }));
}

export async function thinking(client) {
  const asked = { model: MODEL, max_tokens: 3000, messages: HELLO, thinking: { type: 'adaptive' } };
  return {
    streamed: await client.messages.stream(asked).finalMessage(),
    plain: seen(await client.messages.create(asked)),
  };
}

export async function tools(client) {
  const asked = { model: MODEL, max_tokens: 400, tools: [WEATHER], tool_choice: { type: 'any' } };
  const question = { role: 'user', content: 'What is the weather in Kyōto?' };
  const called = await client.messages.create({ ...asked, messages: [question] });
  const call = called.content.find((block) => block.type === 'tool_use');
  const result = { type: 'tool_result', tool_use_id: call.id, content: [{ type: 'text', text: '21 °C, clear' }] };
  const conversation = [question, { role: 'assistant', content: called.content }, { role: 'user', content: [result] }];
  const concluded = await client.messages.create({ ...asked, tool_choice: { type: 'none' }, messages: conversation });
  const streamed = await client.messages.stream({ ...asked, messages: [question] }).finalMessage();
  return { called: seen(called), concluded: seen(concluded), streamed };
}

export async function kinds(client, { answers }) {
  const source = { type: 'text', media_type: 'text/plain', data: 'Grass is green.' };
  const found = {};
  for (const answer of answers) {
    const content = [{ type: 'document', title: 'A', source }, { type: 'text', text: `[[simulate ${answer}]]` }];
    const asked = {
      model: MODEL,
      max_tokens: 600,
      messages: [{ role: 'user', content }],
      tools: [{ type: 'web_search_20250305', name: 'web_search' }],
      stop_sequences: ['HALT'],
    };
    found[answer] = {
      streamed: await client.messages.stream(asked).finalMessage(),
      plain: seen(await client.messages.create(asked)),
    };
  }
  return found;
}

export async function huge_event(client) {
  const messages = [{ role: 'user', content: 'Think. [[simulate signature=5000000]]' }];
  const asked = { model: MODEL, max_tokens: 3000, thinking: { type: 'adaptive', display: 'omitted' }, messages };
  const { content } = await client.messages.stream(asked).finalMessage();
  return content.map((block) => [block.type, block.type === 'thinking' ? block.signature.length : block.text]);
}

export async function prompt_cache(client) {
  const system = [
    { type: 'text', text: 'All work and no play. '.repeat(2000), cache_control: { type: 'ephemeral' } },
  ];
  const usages = [];
  for (let n = 0; n < 2; n++) {
    const asked = { model: MODEL, max_tokens: 20, messages: HELLO, system };
    usages.push((await client.messages.create(asked)).usage);
  }
  return usages;
}

export async function beta_messages(client) {
  const asked = { model: MODEL, max_tokens: 60, messages: HELLO, betas: ['context-management-2025-06-27'] };
  return {
    streamed: await client.beta.messages.stream(asked).finalMessage(),
    plain: seen(await client.beta.messages.create(asked)),
    counted: seen(await client.beta.messages.countTokens({ model: MODEL, messages: HELLO })),
  };
}

export async function count_tokens(client) {
  const asked = { model: MODEL, messages: HELLO };
  return [
    seen(await client.messages.countTokens(asked)),
    seen(await client.messages.countTokens({ ...asked, system: 'Be brief.', tools: [WEATHER] })),
  ];
}

export async function models(client) {
  return { all: await all(client.models.list({ limit: 3 })), one: seen(await client.models.retrieve(MODEL)) };
}

// Files, skills, and agents at work.
import { MODEL, all, digest, outcomeOf, seen, toFile } from './seen.mjs';

export async function files(client) {
  const content = Buffer.from(Array.from({ length: 1 << 20 }, (_, n) => n % 256));
  const file = await toFile(content, 'dä ta.bin', { type: 'application/octet-stream' });
  const uploaded = await client.files.upload({ file });
  return {
    uploaded: seen(uploaded),
    seen: seen(await client.files.retrieveMetadata(uploaded.id)),
    listed: (await all(client.files.list())).map((one) => one.id === uploaded.id),
    download: await outcomeOf(() => client.files.download(uploaded.id)),
    deleted: seen(await client.files.delete(uploaded.id)),
    afterwards: (await outcomeOf(() => client.files.retrieveMetadata(uploaded.id))).class,
  };
}

export async function file_download(client) {
  const answer = await client.beta.messages.create({
    model: MODEL,
    max_tokens: 400,
    messages: [{ role: 'user', content: 'Plot it. [[simulate file]]' }],
    tools: [{ type: 'code_execution_20250825', name: 'code_execution' }],
    betas: ['code-execution-2025-08-25'],
  });
  const made = [...JSON.stringify(answer.content).matchAll(/"file_id":"([^"]+)"/g)].map((match) => match[1]);
  const content = Buffer.from(await (await client.files.download(made[0])).arrayBuffer());
  return { files: made.length, bytes: content.length, digest: digest(content) };
}

export async function file_pages(client) {
  const made = [];
  for (let n = 1; n < 8; n++) {
    const file = await toFile(Buffer.from('x'.repeat(n)), `${n}.txt`, { type: 'text/plain' });
    made.push((await client.files.upload({ file })).id);
  }
  const places = (list) => list.map((file) => made.indexOf(file.id));
  const page = await client.files.list({ limit: 3 });
  return {
    all: places(await all(client.files.list({ limit: 3 }))),
    'first page': places(page.data),
    more: page.hasNextPage(),
  };
}

export async function skills(client) {
  const text = '---\nname: greeter\ndescription: Greets.\n---\nSay hello.\n';
  const created = await client.skills.create({
    display_name: 'Greeter',
    files: [
      await toFile(Buffer.from(text), 'greeter/SKILL.md', { type: 'text/markdown' }),
      await toFile(Buffer.from('grüß dich\n'), 'greeter/words.txt', { type: 'text/plain' }),
    ],
  });
  return {
    created: seen(created),
    seen: seen(await client.skills.retrieve(created.id)),
    listed: (await all(client.skills.list({ source: 'custom' }))).map((skill) => skill.id === created.id),
    versions: (await all(client.skills.versions.list(created.id))).length,
    deleted: seen(await client.skills.delete(created.id)),
  };
}

export async function sessions(client) {
  const agent = await client.beta.agents.create({ name: 'helper', model: MODEL });
  const environment = await client.beta.environments.create({ name: 'box' });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  const streamed = [];
  const watch = await client.beta.sessions.events.stream(session.id);
  const said = { type: 'user.message', content: [{ type: 'text', text: 'Hello' }] };
  await client.beta.sessions.events.send(session.id, { events: [said] });
  for await (const event of watch) {
    streamed.push(event.type);
    if (event.type === 'session.status_idle') break;
  }
  return {
    agent: seen(agent),
    streamed,
    history: (await all(client.beta.sessions.events.list(session.id))).map((event) => event.type),
    usage: (await client.beta.sessions.retrieve(session.id)).usage,
    archived: (await client.beta.sessions.archive(session.id)).status,
  };
}

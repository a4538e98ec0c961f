// What the TypeScript SDK does with an API, by probe; the counterpart of clients/python_sdk, with the same names.
//
// usage: node probes.mjs PATH_OF_THE_SDK      one JSON line asks for a probe, one JSON line answers
import { createInterface } from 'node:readline';

import * as batches from './batches.mjs';
import * as messages from './messages.mjs';
import * as objects from './objects.mjs';
import * as refusals from './refusals.mjs';
import { Anthropic, VERSION } from './seen.mjs';
import * as streams from './streams.mjs';

const PROBES = { ...messages, ...streams, ...refusals, ...batches, ...objects };

const answer = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

answer({ version: VERSION, probes: Object.keys(PROBES).sort() });
for await (const line of createInterface({ input: process.stdin })) {
  const { probe, base_url, key, arguments: given } = JSON.parse(line);
  try {
    const client = new Anthropic({ baseURL: base_url, apiKey: key, maxRetries: 0, timeout: 30000 });
    answer({ outcome: (await PROBES[probe](client, given)) ?? null });
  } catch (error) {
    answer({ failed: error?.stack ?? String(error) });
  }
}

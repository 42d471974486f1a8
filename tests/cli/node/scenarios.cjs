// Drives a server with the official Node client: `node scenarios.cjs NAME [ARGUMENT…]`.
//
// The server is found through OPENAI_BASE_URL and OPENAI_API_KEY, the package through NODE_PATH.  Each scenario
// prints one JSON document of what the client saw; the tests in tests/cli say what that has to be.  MAX_RETRIES and
// POLL_INTERVAL_MS are options of the client.

"use strict";

const fs = require("node:fs");
const OpenAI = require("openai");

const maxRetries = Number(process.env.MAX_RETRIES || 0);
const interval = process.env.POLL_INTERVAL_MS ? { pollIntervalMs: Number(process.env.POLL_INTERVAL_MS) } : {};
const timeout = 20_000; // of a request; the client's own is longer than a test may take
const client = new OpenAI({ maxRetries, timeout });
const { fileBatches, files } = client.vectorStores;

const ids = (n) => Array.from({ length: n }, (_, i) => `file-${String(i).padStart(4, "0")}`);

const collected = async (pages) => {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
};

// A client that calls `hear` with the text of each answer before it hands it on.  What `hear` throws ends the process:
// the client would take it for a connection that failed, and ask again.
const listening = (hear) =>
  new OpenAI({
    maxRetries,
    timeout,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      if (!response.ok) return response;
      const text = await response.text(); // not of a clone, which may wait for ever if the connection ends amid it
      await hear(text, url).catch((error) => {
        console.error(error);
        process.exit(1);
      });
      return new Response(text, response);
    },
  });

const refused = async (call) => {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return { class: error.constructor.name, status: error.status, code: error.code, error: error.error };
  }
  throw new Error("the call was not refused");
};

const scenarios = {
  async create() {
    const store = await client.vectorStores.create({ name: "node" });
    const created = await fileBatches.create(store.id, { file_ids: ids(3) });
    const retrieved = await fileBatches.retrieve(created.id, { vector_store_id: store.id });
    return { store, created, retrieved };
  },

  async createAndPoll(n) {
    const store = await client.vectorStores.create({});
    const batch = await fileBatches.createAndPoll(store.id, { file_ids: ids(Number(n)) }, interval);
    const file = await files.retrieve("file-0000", { vector_store_id: store.id });
    return { batch, file, store: await client.vectorStores.retrieve(store.id) };
  },

  // The cancel is sent when three answers have said that the batch is in progress: amid the polling.
  async cancelWhilePolling() {
    const store = await client.vectorStores.create({});
    const created = await fileBatches.create(store.id, { file_ids: ids(5) });
    let polls = 0;
    let cancelled;
    const polling = listening(async (text) => {
      polls += 1;
      if (polls === 3) {
        if (JSON.parse(text).status !== "in_progress") throw new Error(`ended before the cancel: ${text}`);
        cancelled = await fileBatches.cancel(created.id, { vector_store_id: store.id });
      }
    });
    const polled = await polling.vectorStores.fileBatches.poll(store.id, created.id, interval);
    return { cancelled, polled, polls };
  },

  // Pages of 7 in both orders, then what precedes a file in the middle.
  async listing(n) {
    const store = await client.vectorStores.create({});
    const batch = await fileBatches.createAndPoll(store.id, { file_ids: ids(Number(n)) }, interval);
    const walk = async (query) => {
      const page = await fileBatches.listFiles(batch.id, { vector_store_id: store.id, limit: 7, ...query });
      return {
        first: page.data.map((file) => file.id),
        hasMore: page.has_more,
        all: (await collected(page)).map((file) => file.id),
      };
    };
    const whole = await walk({ order: "asc" });
    const middle = whole.all[Math.floor(whole.all.length / 2)];
    return {
      asc: whole,
      desc: await walk({ order: "desc" }),
      before: await walk({ order: "asc", before: middle }),
      completed: await walk({ filter: "completed" }),
      inStore: (await collected(files.list(store.id, { order: "asc" }))).map((file) => file.id),
    };
  },

  async uploadAndPoll(...paths) {
    const store = await client.vectorStores.create({});
    const batch = await fileBatches.uploadAndPoll(
      store.id,
      { files: paths.map((path) => fs.createReadStream(path)) },
      interval,
    );
    const attached = await collected(files.list(store.id));
    const seen = {};
    for (const file of attached) {
      const uploaded = await client.files.retrieve(file.id);
      const content = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
      seen[uploaded.filename] = {
        status: file.status,
        error: file.last_error && file.last_error.code,
        usage: file.usage_bytes,
        bytes: uploaded.bytes,
        content: content.toString("base64"),
      };
    }
    return { batch, files: seen };
  },

  async refusals() {
    const store = await client.vectorStores.create({});
    return {
      unknown: await refused(() => client.vectorStores.retrieve("vs_unknown")),
      wrong: await refused(() => fileBatches.create(store.id, { file_ids: [] })),
      limit: await refused(() => files.list(store.id, { limit: 101 })),
      key: await refused(() => new OpenAI({ apiKey: "wrong", maxRetries: 0 }).vectorStores.retrieve(store.id)),
    };
  },
};

const [name, ...given] = process.argv.slice(2);
scenarios[name](...given).then(
  (seen) => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);

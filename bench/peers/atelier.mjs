// Atelier as a peer of the comparison benchmark: copy or link this file into the `peers/` folder beside
// its `bench.mjs` and give it `--peer atelier --bin <release binary>`.
// One WebSocket a chat; a chat of ours begins with a message, so `newChat` runs one tiny turn.
import fs from 'node:fs';
import path from 'node:path';
import { start, req, call, ws, Stamps, us, freePort, directive, sleep } from '../lib.mjs';

const API = '/api/experimental/chats';
const EMAIL = 'bench@example.com', PASSWORD = 'benchmark-password', SETUP_CODE = 'benchmark-setup-code';

export default class Peer {
  name = 'atelier';
  toolName = 'execute';
  toolArgs = command => ({ command });
  perChatStream = true;
  listNeedsTurn = true;
  constructor({ bin, dir, llmPort }) { Object.assign(this, { bin, dir, llmPort }); this.sinks = new Map(); this.socks = new Map(); this.cursors = new Map(); }

  async prepare() {
    this.data = path.join(this.dir, 'data');
    fs.mkdirSync(this.data, { recursive: true });
    fs.chmodSync(this.dir, 0o755); fs.chmodSync(path.dirname(this.dir), 0o755);
    this.port = await freePort();
    this.env = { PATH: process.env.PATH, HOME: this.dir, ATELIER_DATA_DIR: this.data, ATELIER_HTTP_ADDRESS: `127.0.0.1:${this.port}`,
      ATELIER_EGRESS_ALLOW: 'loopback', ATELIER_SETUP_CODE: SETUP_CODE, ATELIER_RATE_REQUESTS: '0', ATELIER_RATE_LOGINS: '0', ATELIER_RATE_LOGINS_ADDRESS: '0', ATELIER_CONNECTIONS_PER_ADDRESS: '0', ATELIER_STREAMS_PER_USER: '0', ATELIER_DAEMON_SLOTS_PER_USER: '256', ATELIER_LOG: 'warn' };
  }
  launch() { return this.child = start(this.bin, ['server'], { env: this.env, cwd: this.dir, log: path.join(this.dir, 'log') }); }
  async ready() { return (await req(this.port, 'GET', '/healthz', undefined, { timeout: 1000, fresh: true })).status === 200; }

  api(method, p, body) { return call(this.port, method, p, body, { headers: this.headers }); }
  async attach() {
    if (!this.headers) {
      const first = await req(this.port, 'GET', '/api/v2/users/first');
      if (first.status === 404) await call(this.port, 'POST', '/api/v2/users/first', { email: EMAIL, username: 'bench', password: PASSWORD, setup_code: SETUP_CODE });
      const { session_token } = await call(this.port, 'POST', '/api/v2/users/login', { email: EMAIL, password: PASSWORD });
      this.headers = { 'Coder-Session-Token': session_token };
      if (first.status === 404) {
        await this.api('POST', `${API}/providers`, { provider: 'openai-compat', base_url: `http://127.0.0.1:${this.llmPort}/v1` });
        await this.api('POST', `${API}/model-configs`, { provider: 'openai-compat', model: 'fake', context_limit: 200000 });
        await this.workspaceCreate();
      }
    }
    for (const id of this.chats ?? []) await this.watch(id);
  }
  async workspaceCreate() {
    const template = await this.api('POST', '/api/v2/organizations/default/templates', { name: 'bench', driver: 'local', spec: {} });
    const { id } = await this.api('POST', '/api/v2/users/me/workspaces', { template_id: template.id, name: 'bench' });
    this.workspace = id;
    for (let i = 0; i < 300; i++) {
      const w = await this.api('GET', `/api/v2/workspaces/${id}`);
      if (w.latest_build.agents?.[0]?.lifecycle_state === 'ready') return;
      if (w.latest_build.status === 'failed') throw new Error('workspace: ' + w.latest_build.error);
      await sleep(100);
    }
    throw new Error('the workspace was not ready in 30 s');
  }
  detach() { this.chats = [...this.socks.keys()]; for (const s of this.socks.values()) s.close(); this.socks.clear(); }

  async newChat() {
    const { id } = await this.api('POST', `${API}/`, { workspace_id: this.workspace, content: [{ type: 'text', text: directive({ n: 1 }) }] });
    let done; const idle = new Promise(r => { done = r; });
    this.sinks.set(id, { stamps: new Stamps(), running: true, done, fail: done });
    await this.watch(id);
    await idle;
    this.sinks.delete(id);
    return id;
  }
  async watch(id) {
    // a stream goes on where the one before was cut
    const sock = await ws(this.port, `${API}/${id}/stream?cursor=${this.cursors.get(id) ?? ''}`, (text, at) => {
      const frame = JSON.parse(text);
      if (frame.type !== 'data') return;
      this.cursors.set(id, frame.cursor);
      const s = this.sinks.get(id);
      if (!s) return;
      for (const e of frame.data) {
        if (e.type === 'message_part') { const p = e.message_part.part; if (p.type === 'text') s.stamps.push(p.text, at); s.running = true; }
        else if (e.type === 'status') { if (e.status.status === 'waiting') { if (s.running) s.done(at); } else s.running = true; }
        else if (e.type === 'error') s.fail(new Error(JSON.stringify(e.error).slice(0, 300)));
      }
    }, { headers: this.headers });
    this.socks.set(id, sock);
  }
  turn(id, text) {
    const stamps = new Stamps();
    let done, fail; const end = new Promise((a, b) => { done = a; fail = b; });
    const sink = { stamps, done, fail, running: false };
    this.sinks.set(id, sink);
    const postedAt = us();
    const ack = req(this.port, 'POST', `${API}/${id}/messages`, { content: [{ type: 'text', text }] }, { headers: this.headers })
      .then(r => { if (r.status >= 300) fail(new Error(`send: ${r.status} ${r.text.slice(0, 200)}`)); return us(); }, e => { fail(e); return us(); });
    return { postedAt, stamps, ack, end: end.finally(() => this.sinks.delete(id)) };
  }
  idleSubscriber(id) { return ws(this.port, `${API}/${id}/stream?cursor=`, () => {}, { headers: this.headers }); }
  async list(n) { return (await this.api('GET', `${API}/?limit=${n}`)).length; }
  async history(id) {
    const { messages } = await this.api('GET', `${API}/${id}/messages?limit=200`);
    const a = messages.find(m => m.role === 'assistant');
    return { messages: messages.length, text: a?.content.filter(p => p.type === 'text').map(p => p.text).join('') ?? '', completed: a?.finish_reason === 'stop' };
  }
  note = 'newChat includes one tiny turn: a chat begins with a message';
}

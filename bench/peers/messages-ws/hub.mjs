// A chat server as Node programmers write it on `ws`: a JWT at the handshake, rooms, JSON text frames, a heartbeat.
// It keeps messages in memory only for as long as it takes to pass them on.
import { createServer } from 'node:http';

import { WebSocketServer } from 'ws';

import { verifier } from './tokens.mjs';

const HEARTBEAT_MS = 30_000;
const MAX_MESSAGE = 64 * 1024;
const MAX_UNSENT = 1024 * 1024;
const TEXT = { binary: false };

const port = Number(process.argv[2] ?? 9000);
const verify = verifier(process.env.HUB_SECRET_KEY);
const rooms = new Map();

const server = createServer((request, response) => {
  response.writeHead(request.url === '/healthz' ? 200 : 404).end();
});
const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE, perMessageDeflate: false });

server.on('upgrade', (request, socket, head) => {
  const user = request.url === '/message' ? verify(request.headers.authorization) : null;
  if (user === null) {
    socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    return;
  }
  sockets.handleUpgrade(request, socket, head, (ws) => welcome(ws, user));
});

function welcome(ws, user) {
  ws.user = user;
  ws.rooms = [];
  ws.isAlive = true;
  ws.on('pong', heard);
  ws.on('message', received);
  ws.on('close', left);
  ws.on('error', failed);
  ws.send(JSON.stringify({ type: 'welcome', userId: user }));
}

function heard() {
  this.isAlive = true;
}

function failed() {
  this.terminate();
}

function left() {
  for (const name of this.rooms) {
    const room = rooms.get(name);
    room.members.delete(this);
    if (room.members.size === 0) rooms.delete(name);
  }
}

function received(data) {
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    this.send(JSON.stringify({ type: 'error', detail: 'not JSON' }));
    return;
  }
  if (message.type === 'join') join(this, message.to);
  else say(this, message);
}

function join(ws, name) {
  let room = rooms.get(name);
  if (room === undefined) rooms.set(name, (room = { seq: 0, members: new Set() }));
  room.members.add(ws);
  ws.rooms.push(name);
  ws.send(JSON.stringify({ type: 'joined', to: name }));
}

function say(ws, { type, id, to, content }) {
  const room = rooms.get(to);
  if (room === undefined || !room.members.has(ws)) {
    ws.send(JSON.stringify({ type: 'error', id, detail: 'not in this room' }));
    return;
  }
  const timestamp = Date.now();
  const seq = ++room.seq;
  const text = Buffer.from(JSON.stringify({ type, id, to, seq, senderId: ws.user, content, timestamp }));
  for (const member of room.members) {
    if (member === ws) continue;
    if (member.bufferedAmount > MAX_UNSENT) member.terminate();
    else member.send(text, TEXT);
  }
  ws.send(JSON.stringify({ type: 'ack', id, to, seq, timestamp }));
}

setInterval(() => {
  for (const ws of sockets.clients) {
    if (!ws.isAlive) {
      ws.terminate();
      continue;
    }
    ws.isAlive = false;
    ws.ping();
  }
}, HEARTBEAT_MS).unref();

process.on('SIGTERM', () => process.exit(0));
server.listen({ host: '127.0.0.1', port, backlog: 4096 });

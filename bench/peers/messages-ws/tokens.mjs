import { createHmac, timingSafeEqual } from 'node:crypto';

// Whom the Authorization header names (RFC 7519, HS256 only), or null.
export function verifier(secret) {
  if (!secret) throw new Error('HUB_SECRET_KEY is not set: tokens are verified with it');
  return (authorization) => {
    const [scheme, token] = (authorization ?? '').split(' ');
    const [head, body, signature] = (token ?? '').split('.');
    if (scheme.toLowerCase() !== 'bearer' || !signature) return null;
    const right = createHmac('sha256', secret).update(`${head}.${body}`).digest();
    const given = Buffer.from(signature, 'base64url');
    if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
    const { alg } = JSON.parse(Buffer.from(head, 'base64url'));
    const { sub, exp } = JSON.parse(Buffer.from(body, 'base64url'));
    return alg === 'HS256' && sub && exp > Date.now() / 1000 ? sub : null;
  };
}

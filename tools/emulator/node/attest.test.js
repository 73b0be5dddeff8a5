// A test of somebody's own program that signs and attests: it runs in CI against the emulator. Start that first:
//   docker run --rm -d -p 127.0.0.1:9090:9090 EMULATOR_IMAGE
//   npm ci --ignore-scripts && EMULATOR=127.0.0.1:9090 node --test
import assert from 'node:assert/strict';
import {createHash, createVerify} from 'node:crypto';
import {test} from 'node:test';

import {GrafeasClient} from '@google-cloud/grafeas';
import kms from '@google-cloud/kms';
import {credentials} from '@grpc/grpc-js';

// Off Google Cloud there is no metadata server to look for.
process.env.METADATA_SERVER_DETECTION ??= 'none';

const address = process.env.EMULATOR;
const digest = 'sha256:7b1e2a0a5a6cd0f52ca4b7e9d6b8d41a7a3a0d5f3e3c2b1a0f9e8d7c6b5a4938';
const image = `https://us-docker.pkg.dev/acme/prod/api@${digest}`;

// options connect any client of Google's to the emulator.
function options() {
  const [host, port] = address.split(':');
  return {servicePath: host, port: Number(port), sslCreds: credentials.createInsecure()};
}

test('signs and attests', {skip: address ? false : 'EMULATOR names no emulator, such as 127.0.0.1:9090'}, async t => {
  const keys = new kms.KeyManagementServiceClient(options());
  const grafeas = new GrafeasClient(options());
  t.after(async () => {
    await keys.close();
    await grafeas.close();
  });

  // Each run has names of its own: key rings cannot be deleted.
  const id = `example-${process.pid}-${Date.now()}`;
  const [ring] = await keys.createKeyRing({parent: 'projects/acme/locations/global', keyRingId: id});
  const [key] = await keys.createCryptoKey({
    parent: ring.name,
    cryptoKeyId: 'signer',
    cryptoKey: {purpose: 'ASYMMETRIC_SIGN', versionTemplate: {algorithm: 'EC_SIGN_P256_SHA256'}},
  });
  const version = `${key.name}/cryptoKeyVersions/1`;

  const payload = Buffer.from(JSON.stringify({critical: {image: {'docker-manifest-digest': digest}}}));
  const [signed] = await keys.asymmetricSign({
    name: version,
    digest: {sha256: createHash('sha256').update(payload).digest()},
  });
  const [publicKey] = await keys.getPublicKey({name: version});
  assert.ok(createVerify('sha256').update(payload).verify(publicKey.pem, signed.signature), 'the signature verifies');

  const [note] = await grafeas.createNote({
    parent: 'projects/acme',
    noteId: id,
    note: {attestation: {hint: {humanReadableName: 'example'}}},
  });
  const request = {
    parent: 'projects/acme',
    occurrence: {
      noteName: note.name,
      resourceUri: image,
      attestation: {
        serializedPayload: payload,
        signatures: [{signature: signed.signature, publicKeyId: `//cloudkms.googleapis.com/v1/${version}`}],
      },
    },
  };
  await grafeas.createOccurrence(request);

  // A second attestation on note and image is a conflict, as in the live service. 6 is ALREADY_EXISTS.
  await assert.rejects(grafeas.createOccurrence(request), err => err.code === 6);
  const [listed] = await grafeas.listNoteOccurrences({name: note.name, filter: `has_suffix(resourceUrl, "${digest}")`});
  assert.deepEqual(listed.map(o => o.resourceUri), [image]);
});

// Certificates made on the spot: an authority, and nodes signed by it. X.509 in DER, no more of it than TLS needs.

import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

export interface Authority {
  readonly certificate: string;
  issue(name: string): Identity;
}

export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export function createAuthority(name: string): Authority {
  const keys = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const isAuthority = extension("551d13", der(0x30, Buffer.from([0x01, 0x01, 0xff])), true);
  const certificate = pem(signedCertificate(name, name, keys.publicKey, keys.privateKey, isAuthority));
  return {
    certificate,
    issue: (subject) => {
      const own = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
      const names = der(
        0x30,
        der(0x82, Buffer.from(subject)),
        der(0x82, Buffer.from("localhost")),
        der(0x87, Buffer.from([127, 0, 0, 1])),
      );
      return {
        cert: pem(
          signedCertificate(name, subject, own.publicKey, keys.privateKey, extension("551d11", names)),
        ),
        key: own.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
        ca: certificate,
      };
    },
  };
}

const ECDSA_WITH_SHA256 = der(0x30, der(0x06, Buffer.from("2a8648ce3d040302", "hex")));

function signedCertificate(
  issuer: string,
  subject: string,
  publicKey: KeyObject,
  issuerKey: KeyObject,
  ownExtension: Buffer,
): Buffer {
  const serial = randomBytes(16);
  serial[0] = 0x11;
  const toBeSigned = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ECDSA_WITH_SHA256,
    distinguishedName(issuer),
    der(0x30, der(0x17, Buffer.from("200101000000Z")), der(0x17, Buffer.from("490101000000Z"))),
    distinguishedName(subject),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(0x30, ownExtension)),
  );
  const signature = sign("sha256", toBeSigned, issuerKey);
  return der(0x30, toBeSigned, ECDSA_WITH_SHA256, der(0x03, Buffer.from([0]), signature));
}

function distinguishedName(name: string): Buffer {
  const commonName = der(0x06, Buffer.from("550403", "hex"));
  return der(0x30, der(0x31, der(0x30, commonName, der(0x0c, Buffer.from(name)))));
}

function extension(oid: string, value: Buffer, isCritical = false): Buffer {
  const critical = isCritical ? [Buffer.from([0x01, 0x01, 0xff])] : [];
  return der(0x30, der(0x06, Buffer.from(oid, "hex")), ...critical, der(0x04, value));
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  if (length < 0x100) return Buffer.concat([Buffer.from([tag, 0x81, length]), content]);
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), content]);
}

function pem(certificate: Buffer): string {
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

// Ends with status 0 when the node in this container is ready, with 1 and the reason when it is not.
// The image has no curl; HEALTHCHECK_URL names another address, https:// when the node has certificates.

import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

const TIMEOUT_MS = 4_000;
const MAX_SHOWN_BYTES = 2_000;

const url = new URL(process.env.HEALTHCHECK_URL || "http://127.0.0.1:8001/readyz");
const request = url.protocol === "https:" ? requestHttps : requestHttp;

request(
  url,
  // The certificate names the host that others dial, not the loopback, and nothing secret is sent.
  { rejectUnauthorized: false, signal: AbortSignal.timeout(TIMEOUT_MS) },
  (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (part) => {
      if (body.length < MAX_SHOWN_BYTES) body += part;
    });
    response.on("end", () => {
      console.log(body.slice(0, MAX_SHOWN_BYTES).trim());
      process.exit(response.statusCode === 200 ? 0 : 1);
    });
    response.on("error", failed);
  },
)
  .on("error", failed)
  .end();

function failed(error) {
  console.log(`${url.href}: ${error.message}`);
  process.exit(1);
}

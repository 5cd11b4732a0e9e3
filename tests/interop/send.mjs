// Sends the events of standard input (one JSON object of attributes and data a
// line) by the CloudEvents SDK: node send.mjs URL TOKEN binary|structured
import { createInterface } from "node:readline";
import { CloudEvent, HTTP } from "cloudevents";

const [url, token, mode] = process.argv.slice(2);
for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body } = HTTP[mode](new CloudEvent(JSON.parse(line)));
  const answer = await fetch(url, { method: "POST", headers: { ...headers, authorization: `Bearer ${token}` }, body });
  if (answer.status !== 202) throw new Error(`${mode}: ${answer.status} ${await answer.text()}`);
}

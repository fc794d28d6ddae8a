// grpc_web.mjs BASE_URL [TOKEN]: asks gRPC's health check with Google's grpc-web client, in both of its formats, and prints
// the status code of each call.
import grpcWeb from "grpc-web";
import XMLHttpRequest from "xhr2";

globalThis.XMLHttpRequest = XMLHttpRequest;
const [base, token] = process.argv.slice(2);
// An empty request, and whatever the answer holds.
const check = new grpcWeb.MethodDescriptor(
  "/grpc.health.v1.Health/Check", "unary", Object, Object, () => new Uint8Array(), (bytes) => bytes,
);

for (const format of ["binary", "text"]) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const metadata = token ? { authorization: `Bearer ${token}` } : {};
  await new Promise((done) => {
    client.rpcCall(base + "/grpc.health.v1.Health/Check", {}, metadata, check, (error) => {
      console.log(format, error ? error.code : 0, error ? error.message : "");
      done();
    });
  });
}

//! What logins, refreshes and guarded requests cost one to three servers, and the store that they share.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use test_support::{cluster::Cluster, postgres::Postgres, redis::Redis};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};
use tower::{Layer, service_fn};
use tower_oauth2_password::{
    Argon2Params, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, HashingPool, Identity, Jwt, Key,
    PasswordVerifier, RefreshTokens, StoredUser, Users,
    store::{AttemptStore, DenyList, RefreshStore, redis::RedisStores},
};
use tower_oauth2_password_sqlx::PgStores;

/// The URLs of the store of a server, which is this program, too.
const SERVER: &str = "SCALE_SERVER";
const TASKS: usize = 16;
const LOGINS: usize = 4_000;
const GUARDED: usize = 40_000;
/// Of `alice`, with the cheapest parameters, so that the hash does not hide the rest.
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";
const PASSWORD: &str = "wonderland123";

/// Every name is a user.
struct Everyone;

impl Users for Everyone {
    async fn find(&self, username: &str) -> Result<Option<StoredUser>, BoxError> {
        self.find_subject(username).await
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(Some(StoredUser::new(Identity::new(subject)).with_password_hash(HASH)))
    }
}

fn auth(attempts: impl AttemptStore, refresh: impl RefreshStore, deny: impl DenyList) -> AuthorizationServer {
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let pool = HashingPool::new().with_params(Argon2Params::new(64, 1, 1).unwrap());
    AuthorizationServer::new(PasswordVerifier::new(Everyone).with_pool(pool), jwt)
        .with_attempt_limits(AttemptLimits::new(attempts, ClientAddress::peer(|peer: &SocketAddr| *peer)))
        .with_refresh_tokens(RefreshTokens::new(refresh))
        .with_deny_list(deny)
}

async fn serve(store: &str) {
    let auth = if store.starts_with("postgres") {
        let pool = PgPoolOptions::new().max_connections(8).connect(store).await.unwrap();
        let stores = PgStores::open(pool).await.unwrap();
        auth(stores.attempts(), stores.refresh_tokens(), stores.deny_list())
    } else {
        let stores = RedisStores::open_cluster(store.split(' ')).unwrap();
        auth(stores.attempts(), stores.refresh_tokens(), stores.deny_list())
    };
    let (guard, endpoints) = (auth.guard(), auth.endpoints());
    let me =
        service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"me")))));
    let app = endpoints.layer(guard.layer(me));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let app = app.clone();
        let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            tower::ServiceExt::oneshot(app.clone(), request)
        });
        stream.set_nodelay(true).unwrap();
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)),
        );
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(store: &str) -> Self {
        let mut child =
            Command::new(env::current_exe().unwrap()).env(SERVER, store).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU seconds of a process and its children, those that have ended included.
fn cpu(pid: u32) -> f64 {
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = |pid: &str| -> Vec<u64> {
        let stat = stat(pid);
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect()
    };
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let children = children.map(|name| fields(&name)).filter(|fields| fields.get(1) == Some(&u64::from(pid)));
    // utime and stime, and those of children that have ended. A tick is 10 ms.
    let own = fields(&pid.to_string());
    let ticks = own[11..15].iter().sum::<u64>() + children.map(|fields| fields[11] + fields[12]).sum::<u64>();
    ticks as f64 / 100.0
}

enum Store {
    Redis(Vec<Redis>),
    Postgres { server: Postgres, pool: PgPool, proxy: SocketAddr, bytes: Arc<AtomicU64> },
}

/// What a store has done so far: CPU seconds, operations, and bytes received and sent.
type Work = [f64; 3];

impl Store {
    fn url(&self) -> String {
        match self {
            Self::Redis(nodes) => nodes.iter().map(Redis::url).collect::<Vec<_>>().join(" "),
            Self::Postgres { proxy, .. } => format!("postgres://postgres@{proxy}/postgres"),
        }
    }

    async fn work(&self) -> Work {
        match self {
            Self::Redis(nodes) => {
                let mut work = [0.0; 3];
                for node in nodes {
                    let client = redis::Client::open(node.url()).unwrap();
                    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                    let info: String = redis::cmd("INFO").arg("everything").query_async(&mut connection).await.unwrap();
                    let number = |name: &str| -> f64 {
                        info.lines()
                            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
                            .unwrap()
                    };
                    let scripts =
                        info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
                    work[0] += number("used_cpu_sys") + number("used_cpu_user");
                    work[1] += scripts.map_or(0.0, |calls| calls.parse().unwrap());
                    work[2] += number("total_net_input_bytes") + number("total_net_output_bytes");
                }
                work
            }
            Self::Postgres { server, pool, bytes, .. } => {
                // Sessions report what they did once they have been idle for ten seconds.
                tokio::time::sleep(Duration::from_millis(10_500)).await;
                let count =
                    "SELECT (xact_commit + xact_rollback)::float8 FROM pg_stat_database WHERE datname = 'postgres'";
                let transactions = sqlx::query_scalar(count).fetch_one(pool).await.unwrap();
                [cpu(server.pid()), transactions, bytes.load(Ordering::Relaxed) as f64]
            }
        }
    }
}

/// Counts the bytes that go through it: Postgres does not.
async fn count_bytes(port: u16, bytes: Arc<AtomicU64>) -> SocketAddr {
    async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes: Arc<AtomicU64>) {
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            bytes.fetch_add(length as u64, Ordering::Relaxed);
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
            }
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_read, far_write, Arc::clone(&bytes)));
            tokio::spawn(carry(far_read, near_write, Arc::clone(&bytes)));
        }
    });
    address
}

type Connection = SendRequest<Full<Bytes>>;

async fn send(connection: &mut Connection, request: Request<Full<Bytes>>) -> (bool, Bytes) {
    connection.ready().await.unwrap();
    let response = connection.send_request(request).await.unwrap();
    (response.status().is_success(), response.into_body().collect().await.unwrap().to_bytes())
}

fn form(body: String) -> Request<Full<Bytes>> {
    let request = Request::post("/token").header("host", "x").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(body.into()).unwrap()
}

/// Sends `count` requests over one connection for each task, and returns what `read` makes of each answer and its success.
async fn all<T: Send + 'static>(
    servers: &[Server],
    count: usize,
    request: impl Fn(usize) -> Request<Full<Bytes>> + Send + Sync + 'static,
    read: fn((bool, Bytes)) -> T,
) -> Vec<T> {
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let stream = TcpStream::connect(servers[task % servers.len()].address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut connection, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        let (next, request) = (Arc::clone(&next), Arc::clone(&request));
        tasks.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return answers;
                }
                answers.push(read(send(&mut connection, request(number)).await));
            }
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

fn must_succeed((success, body): (bool, Bytes)) -> Bytes {
    assert!(success, "{}", String::from_utf8_lossy(&body));
    body
}

/// The access token and the refresh token of an answer.
fn tokens(answer: (bool, Bytes)) -> [String; 2] {
    let body: Value = serde_json::from_slice(&must_succeed(answer)).unwrap();
    ["access_token", "refresh_token"].map(|name| body[name].as_str().unwrap().to_owned())
}

/// One step of the benchmark: what it cost servers and store.
struct Meter<'a> {
    name: String,
    servers: &'a [Server],
    store: &'a Store,
}

impl Meter<'_> {
    fn server_cpu(&self) -> f64 {
        self.servers.iter().map(|server| cpu(server.child.id())).sum()
    }

    async fn step<T>(&self, step: &str, count: usize, run: impl Future<Output = T>) -> T {
        let before = self.store.work().await;
        let (server, begun) = (self.server_cpu(), Instant::now());
        let output = run.await;
        let (seconds, server) = (begun.elapsed().as_secs_f64(), self.server_cpu() - server);
        let after = self.store.work().await;
        let [store, operations, bytes] = [0, 1, 2].map(|at| after[at] - before[at]);
        let each = count as f64;
        println!(
            "| {} | {step} | {:.0} | {:.3} | {:.3} | {:.1} | {:.0} |",
            self.name,
            each / seconds,
            server * 1_000.0 / each,
            store * 1_000.0 / each,
            operations / each,
            bytes / each
        );
        output
    }
}

async fn measure(name: &str, store: &Store, processes: usize) {
    let servers: Vec<_> = (0..processes).map(|_| Server::start(&store.url())).collect();
    let meter = Meter { name: format!("{name} | {processes}"), servers: &servers, store };
    let login = move |number| form(format!("grant_type=password&username=user{number}&password={PASSWORD}"));
    // The first logins connect, which may take longer than a login waits.
    all(&servers, 10 * TASKS, login, |_| ()).await;
    let issued = meter.step("login", LOGINS, all(&servers, LOGINS, login, tokens)).await;
    let refresh = |(access, refresh): (Vec<String>, Vec<String>)| {
        let request = move |number: usize| form(format!("grant_type=refresh_token&refresh_token={}", refresh[number]));
        (access, request)
    };
    let (access, refresh) = refresh(issued.into_iter().map(|[access, refresh]| (access, refresh)).unzip());
    meter.step("refresh", LOGINS, all(&servers, LOGINS, refresh, must_succeed)).await;
    let guarded = move |number: usize| {
        let bearer = format!("Bearer {}", access[number % access.len()]);
        Request::get("/me").header("host", "x").header("authorization", bearer).body(Full::default()).unwrap()
    };
    meter.step("guarded", GUARDED, all(&servers, GUARDED, guarded, must_succeed)).await;
}

fn main() {
    let runtime = Runtime::new().unwrap();
    if let Ok(store) = env::var(SERVER) {
        return runtime.block_on(serve(&store));
    }
    println!("CPU seconds per 1,000; calls of the store and bytes to and from it for each.");
    println!("| store | servers | step | a second | server CPU | store CPU | calls | bytes |");
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
    runtime.block_on(async {
        for processes in 1..=3 {
            measure("Redis", &Store::Redis(vec![Redis::start()]), processes).await;
        }
        for processes in 1..=3 {
            measure("Redis Cluster", &Store::Redis(Cluster::start(0).nodes), processes).await;
        }
        for processes in 1..=3 {
            let (server, bytes) = (Postgres::start(), Arc::<AtomicU64>::default());
            let pool = PgPool::connect(&server.url()).await.unwrap();
            let proxy = count_bytes(server.port(), Arc::clone(&bytes)).await;
            measure("Postgres", &Store::Postgres { server, pool, proxy, bytes }, processes).await;
        }
    });
}

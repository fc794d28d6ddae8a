//! `axum::serve` with a deadline for connections without a request, and a graceful end.

use std::{io, net::SocketAddr, pin::Pin, time::Duration};

use axum::{
    BoxError, Router,
    extract::{ConnectInfo, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    serve::{Listener, ListenerExt},
};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncRead, Join, join},
    net::{TcpListener, TcpSocket, tcp::OwnedWriteHalf},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::io::{ReaderStream, StreamReader};
use tower_http::timeout::TimeoutLayer;

/// A request that is not answered ends after this time, and so does a connection without a request.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn serve(addr: SocketAddr, app: Router) -> Result<(), BoxError> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(cfg!(unix))?;
    // Room for a burst of connections: `TcpListener::bind` has room for 128.
    let listener = socket.bind(addr).and_then(|()| socket.listen(4_096));
    let listener = listener.map_err(|error| format!("cannot listen on {addr}: {error}; set a different ADDR"))?;
    let (stop, limit) = (stop_signal()?, stop_signal()?);
    println!("listening on http://{}", listener.local_addr()?);
    let app = app.layer((from_fn(count), TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, LIMIT)));
    // `with_state` builds the routes once, not for each request; `tap_io` makes the `Connection` a `ConnectInfo`.
    let app = app.with_state(()).into_make_service_with_connect_info::<Connection>();
    let server = axum::serve(Limited(listener).tap_io(|_| ()), app).with_graceful_shutdown(stop);
    tokio::select! {
        served = server.into_future() => Ok(served?),
        () = async { limit.await; sleep(LIMIT * 4 / 5).await } => Ok(()),
    }
}

/// Resolves at Ctrl-C or SIGTERM, and catches them from the call on.
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
        })
    }
    #[cfg(not(unix))]
    Ok(async { _ = tokio::signal::ctrl_c().await })
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// Notified of each new request. Each request in progress holds a receiver.
    requests: watch::Sender<()>,
}

async fn count(ConnectInfo(connection): ConnectInfo<Connection>, request: Request, next: Next) -> Response {
    let _in_progress = connection.requests.subscribe();
    connection.requests.send_replace(());
    next.run(request).await
}

async fn idle(requests: watch::Sender<()>) {
    let mut started = requests.subscribe();
    while timeout(LIMIT, started.changed()).await.is_ok() || requests.receiver_count() > 1 {}
}

struct Limited(TcpListener);

impl Listener for Limited {
    type Io = Join<Pin<Box<dyn AsyncRead + Send>>, OwnedWriteHalf>;
    type Addr = Connection;

    async fn accept(&mut self) -> (Self::Io, Connection) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")] // ends a client that does not read its answer
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(LIMIT));
        let ((read, write), requests) = (stream.into_split(), watch::Sender::new(()));
        let read = StreamReader::new(ReaderStream::new(read).take_until(Box::pin(idle(requests.clone()))));
        (join(Box::pin(read), write), Connection { peer, requests })
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection { peer: self.0.local_addr()?, requests: watch::Sender::new(()) })
    }
}

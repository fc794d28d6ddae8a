let accessToken; // in memory only: a reload gets another one for the cookie
let mfaToken; // between the password and the code

const find = (id) => document.getElementById(id);
const tabs = new BroadcastChannel('session'); // the tabs share a cookie, so they share who is logged in

class Refusal extends Error {
  constructor(response, body) {
    const wait = response.headers.get('retry-after');
    const text = body.error_description ?? `The server answered ${response.status}`;
    super(wait ? `${text}. Try again in ${wait} seconds.` : `${text}.`);
    Object.assign(this, { status: response.status, body });
  }
}

async function send(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Error('The server cannot be reached. Check your connection, and try again.');
  });
  if (response.ok) return response;
  throw new Refusal(response, await response.json().catch(() => ({})));
}

const post = (path, fields) =>
  send(path, { method: 'POST', body: new URLSearchParams({ client_id: 'spa', ...fields }) });

async function requestToken(fields) {
  const response = await post('/token', fields);
  accessToken = (await response.json()).access_token;
}

let refreshing; // at most one at a time
function refresh() {
  accessToken = undefined;
  refreshing ??= requestToken({ grant_type: 'refresh_token' }).finally(() => { refreshing = undefined; });
  return refreshing;
}

async function api(path, method = 'GET', json = undefined) {
  const call = () => send(path, {
    method,
    credentials: 'omit', // the API takes no cookie
    headers: { authorization: `Bearer ${accessToken}`, ...(json && { 'content-type': 'application/json' }) },
    body: json && JSON.stringify(json),
  });
  return call().catch(async (error) => {
    if (error.status !== 401) throw error;
    await refresh();
    return call();
  });
}

function show(view) {
  for (const id of ['loading', 'log-in', 'second-factor', 'app']) find(id).hidden = id !== view;
  find('user').hidden = view !== 'app';
  if (view !== 'app') for (const id of ['items', 'sessions', 'name']) find(id).replaceChildren();
  find(view).querySelector('input')?.focus();
}

function showError(error) {
  find('error').textContent = error?.message ?? '';
  find('error').hidden = !error;
}

function leave() {
  accessToken = mfaToken = undefined;
  find('log-in').reset();
  show('log-in');
}

/// Runs an action of the user, and shows what went wrong. A 400 of a refresh means that the session has ended.
async function run(action, button) {
  showError();
  if (button) button.disabled = true;
  try {
    await action();
  } catch (error) {
    if (error.status === 400 && !accessToken && !find('app').hidden) {
      leave();
      showError(new Error('Your session has ended. Please log in again.'));
    } else {
      showError(error);
    }
  } finally {
    if (button) button.disabled = false;
  }
}

const onSubmit = (id, action) => find(id).addEventListener('submit', (event) => {
  event.preventDefault();
  run(() => action(event.target, Object.fromEntries(new FormData(event.target))), event.submitter);
});

function entry(text, ...others) {
  const li = document.createElement('li');
  li.append(Object.assign(document.createElement('span'), { textContent: text }), ...others);
  return li;
}

function browserName(text) {
  const has = (names) => Object.keys(names).find((name) => names[name].test(text));
  const browser = has({ Edge: /Edg\//, Opera: /OPR\//, Firefox: /Firefox\//, Chrome: /Chrome\//, Safari: /Safari\// });
  const system = has({ Android: /Android/, iPhone: /iPhone/, iPad: /iPad/, Windows: /Windows/, macOS: /Mac OS/, Linux: /Linux/ });
  return `${browser ?? 'Unknown browser'}${system ? ` on ${system}` : ''}`;
}

function ago(seconds) {
  const units = [['day', 86_400], ['hour', 3_600], ['minute', 60]];
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? [];
  if (!unit) return 'just now';
  return new Intl.RelativeTimeFormat('en').format(-Math.floor(seconds / length), unit);
}

function sessionEntry(session) {
  const since = Object.assign(document.createElement('small'), { textContent: `Logged in ${ago(session.age)}` });
  if (session.is_this_one) {
    return entry(browserName(session.browser), since, Object.assign(document.createElement('em'), { textContent: 'This one' }));
  }
  const button = Object.assign(document.createElement('button'), { textContent: 'End this one', className: 'quiet' });
  button.addEventListener('click', () => run(async () => {
    await api(`/api/sessions/${encodeURIComponent(session.id)}`, 'DELETE').catch((error) => {
      if (error.status !== 404) throw error; // it has ended already
    });
    await load();
  }, button));
  return entry(browserName(session.browser), since, button);
}

async function load() {
  const [items, { user, sessions }] = await Promise.all(
    ['/api/items', '/api/sessions'].map(async (path) => (await api(path)).json()));
  find('name').textContent = user;
  find('items').replaceChildren(...items.map((item) => entry(item)));
  find('no-items').hidden = items.length > 0;
  find('sessions').replaceChildren(...sessions.map(sessionEntry));
  if (find('app').hidden) show('app');
}

async function enter() {
  mfaToken = undefined;
  find('log-in').reset();
  await load();
  tabs.postMessage('changed');
}

/// When the page is loaded, and when another tab logged in or out.
const start = () => run(async () => {
  try {
    await refresh();
  } catch (error) {
    if (error.status !== 400) throw error;
    return leave(); // nobody is logged in
  }
  await load();
});

onSubmit('log-in', async (form, fields) => {
  try {
    await requestToken({ grant_type: 'password', ...fields });
  } catch (error) {
    form.elements.password.value = '';
    form.elements.password.focus();
    if (error.body?.error !== 'mfa_required') throw error;
    mfaToken = error.body.mfa_token;
    find('second-factor').reset();
    return show('second-factor');
  }
  await enter();
});

onSubmit('second-factor', async (form, { otp }) => {
  try {
    await requestToken({ grant_type: 'http://auth0.com/oauth/grant-type/mfa-otp', mfa_token: mfaToken, otp });
  } catch (error) {
    form.reset();
    form.elements.otp.focus();
    throw error;
  }
  await enter();
});

onSubmit('add', async (form, { item }) => {
  await api('/api/items', 'POST', item);
  form.reset();
  await load();
});

find('back').addEventListener('click', () => { showError(); leave(); });
find('log-out').addEventListener('click', (event) => run(async () => {
  await post('/revoke', {}).catch((error) => { // ends the session, and removes the cookie
    if (error.status !== 400) throw error; // another tab has logged out already
  });
  leave();
  tabs.postMessage('changed');
}, event.target));
tabs.addEventListener('message', start);
start();

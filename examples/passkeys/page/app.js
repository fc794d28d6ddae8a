let accessToken; // in memory only: a reload logs out

const find = (id) => document.getElementById(id);

async function send(path, options) {
  const response = await fetch(path, { credentials: 'omit', ...options }).catch(() => {
    throw new Error('The server cannot be reached. Check your connection, and try again.');
  });
  if (response.ok) return response;
  const { error, error_description: text } = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Error('Please log in again: this needs a login of the last five minutes.');
  const wait = response.headers.get('retry-after');
  if (error === 'invalid_grant' && !text?.includes('password')) throw new Error('This passkey is not known here, or it took too long.');
  throw new Error(`${text ?? `The server answered ${response.status}`}.${wait ? ` Try again in ${wait} seconds.` : ''}`);
}

const post = (path, fields) => send(path, { method: 'POST', body: new URLSearchParams(fields) });

async function requestToken(fields) {
  accessToken = (await (await post('/token', fields)).json()).access_token;
}

const api = (path, method = 'GET', json = undefined) => send(path, {
  method,
  headers: { authorization: `Bearer ${accessToken}`, ...(json && { 'content-type': 'application/json' }) },
  body: json && JSON.stringify(json), // a credential knows its JSON
});

async function addPasskey() {
  const options = await (await api('/passkeys/start', 'POST')).json();
  const credential = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  await api('/passkeys/finish', 'POST', credential);
}

async function usePasskey() {
  const { challenge_id, options } = await (await send('/passkeys/challenge', { method: 'POST' })).json();
  const credential = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  await requestToken({ grant_type: 'urn:example:passkey', challenge_id, credential: JSON.stringify(credential) });
}

function show(view) {
  for (const id of ['log-in', 'app']) find(id).hidden = id !== view;
  find('user').hidden = view !== 'app';
  find('log-in').reset();
}

/// Runs an action of the user, and shows what went wrong.
async function run(action, button) {
  find('error').hidden = true;
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    find('error').textContent = {
      NotAllowedError: 'No passkey was used: it was cancelled, or there is none on this device.',
      InvalidStateError: 'This device has a passkey for your account already.',
      SecurityError: 'Passkeys do not work at this address. Open the one that the server printed, with "localhost".',
    }[error.name] ?? error.message;
    find('error').hidden = false;
  } finally {
    button.disabled = false;
  }
}

function ago(seconds) {
  const units = [['day', 86_400], ['hour', 3_600], ['minute', 60]];
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? [];
  if (!unit) return 'just now';
  return new Intl.RelativeTimeFormat('en').format(-Math.floor(seconds / length), unit);
}

function entry({ id, age }) {
  const button = Object.assign(document.createElement('button'), { textContent: 'Remove', className: 'quiet' });
  button.addEventListener('click', () => run(async () => {
    await api(`/passkeys/${encodeURIComponent(id)}`, 'DELETE');
    await load();
  }, button));
  const li = document.createElement('li');
  li.append(
    Object.assign(document.createElement('span'), { textContent: 'Passkey' }),
    Object.assign(document.createElement('small'), { textContent: `Added ${ago(age)}` }),
    button,
  );
  return li;
}

async function load() {
  const { user, amr, passkeys } = await (await api('/passkeys')).json();
  find('name').textContent = user;
  find('method').textContent = amr.includes('pop') ? 'with a passkey' : 'with your password';
  find('passkeys').replaceChildren(...passkeys.map(entry));
  find('no-passkeys').hidden = passkeys.length > 0;
  show('app');
}

const onClick = (id, action) => find(id).addEventListener('click', (event) => run(action, event.target));
onClick('add', async () => { await addPasskey(); await load(); });
onClick('use-passkey', async () => { await usePasskey(); await load(); });
onClick('log-out', async () => {
  const token = accessToken;
  accessToken = undefined;
  show('log-in');
  await post('/revoke', { token });
});
find('log-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target));
  run(async () => {
    await requestToken({ grant_type: 'password', ...fields });
    await load();
  }, find('use-password'));
});

// The link carries the token behind a '#': put it into the form, and out of the
// address bar.
const field = document.getElementById("token");
const key = "#invitation=";
if (field && location.hash.startsWith(key)) {
  field.value = decodeURIComponent(location.hash.slice(key.length));
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("email").focus();
}

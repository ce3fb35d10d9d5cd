# shellcheck shell=bash
# Debian packages without installing them: read the package list of a suite through the machine's own mirror, fetch packages with all
# they depend on, unpack them into a folder. For `source`; changes nothing outside $cache and the folder.
#
# Wants from the script that sources it: `say TEXT..` for progress, $cache (a folder for apt's private state), and $skip (names between
# blanks, with one at each end, of packages that nobody here would use: the closure stops at these).

# The Debian mirror this machine uses already, in either form of sources file.
own_mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^[[:space:]]*#' | grep -oE '[a-z+]+://[^][:space:]]+' | grep -E '/debian/?$' | head -1 || true
}

# start_apt SUITE: a private state for apt that knows SUITE only. Sets apt_options.
start_apt() {
  local suite=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { say "no apt here: cannot fetch Debian's packages"; return 1; }
  mirror=$(own_mirror)
  [ -n "$mirror" ] || { say "this machine's apt sources name no Debian mirror"; return 1; }
  [ ! -e $keyring ] || signed=" [signed-by=$keyring]"
  apt_home=$cache/apt-$suite
  mkdir -p "$apt_home/lists/partial" "$apt_home/archives/partial"
  : >"$apt_home/status"
  echo "deb$signed $mirror $suite main" >"$apt_home/sources.list"
  apt_options=(-q -o Dir::Etc::sourcelist="$apt_home/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State="$apt_home" -o Dir::State::lists="$apt_home/lists" -o Dir::State::status="$apt_home/status"
    -o Dir::Cache="$apt_home" -o Dir::Cache::archives="$apt_home/archives" -o APT::Sandbox::User="$(id -un)"
    -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Debug::NoLocking=1)
  say "reading the package list of Debian $suite"
  local try
  for try in 1 2 3; do
    if timeout 300 apt-get "${apt_options[@]}" -o APT::Update::Error-Mode=any update >"$apt_home/update.log" 2>&1; then return 0; fi
    say "the package list could not be read (try $try of 3): $(grep -E '^(E|W|Err)' "$apt_home/update.log" | head -1)"
  done
  return 1
}

# closure PACKAGE..: the packages themselves and everything they depend on, one name a line, first alternative that exists.
closure() {
  local wanted=" $* " fresh="$*" found
  # Names that only other packages provide have no package of their own to fetch.
  apt-cache "${apt_options[@]}" dumpavail | sed -n 's/^Package: //p' | sort -u >"$apt_home/names"
  while [ -n "$fresh" ]; do
    # shellcheck disable=SC2086
    found=$(apt-cache "${apt_options[@]}" show --no-all-versions $fresh 2>/dev/null |
      sed -nE 's/^(Pre-)?Depends: //p' | tr ',' '\n' | sed -E 's/\([^)]*\)//g; s/:any//g; s/ +//g' | sort -u)
    fresh=
    local group name
    for group in $found; do
      # Skipped as soon as one of the alternatives is skipped: nobody here would use the other either.
      local pick=
      for name in ${group//|/ }; do
        case $skip in *" $name "*) pick=; continue 2 ;; esac
        [ -n "$pick" ] || { grep -qxF "$name" "$apt_home/names" && pick=$name || true; }
      done
      [ -n "$pick" ] || continue
      case $wanted in *" $pick "*) ;; *) wanted+="$pick " fresh+=" $pick" ;; esac
    done
  done
  tr ' ' '\n' <<<"$wanted" | sed '/^$/d' | sort
}

# unpack_from_debian TREE SUITE PACKAGE..: fetches the closure and unpacks it. The packages stay in $apt_home/archives.
unpack_from_debian() {
  local tree=$1 suite=$2 names count try
  shift 2
  start_apt "$suite" || return 1
  names=$(closure "$@")
  count=$(wc -l <<<"$names")
  [ "$count" -gt "$#" ] || { say "Debian $suite does not have $*"; return 1; }
  say "fetching $count packages from Debian $suite (signatures are checked by apt)"
  for try in 1 2 3; do
    # shellcheck disable=SC2086
    if (cd "$apt_home/archives" && timeout 900 apt-get "${apt_options[@]}" download $names >"$apt_home/download.log" 2>&1); then
      unpack "$tree" "$apt_home"/archives/*.deb
      return
    fi
    say "the download failed (try $try of 3): $(grep -E '^(E|Err)' "$apt_home/download.log" | head -1)"
  done
  return 1
}

# unpack TREE FILE..
unpack() {
  local tree=$1 deb done=0
  shift
  mkdir -p "$tree"
  for deb in "$@"; do
    dpkg-deb -x "$deb" "$tree" || return 1
    done=$((done + 1))
    if [ $((done % 10)) = 0 ] || [ $done = $# ]; then say "unpacked $done of $# packages"; fi
  done
  # Releases before the merge of /lib into /usr/lib keep libc in /lib.
  if [ -d "$tree/lib" ] && [ ! -L "$tree/lib" ]; then
    mkdir -p "$tree/usr/lib" && cp -a "$tree/lib/." "$tree/usr/lib/" && rm -rf "$tree/lib" || return 1
  fi
}

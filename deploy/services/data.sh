# shellcheck shell=bash disable=SC2034,SC2154 # shares variables with services.sh
# Where the servers keep what they keep: DIR, its data directory, the password, the addresses.

# Postgres refuses to run as root, and a broker has no need to: root's servers get another user.
choose_server_user() {
  as_server=()
  if [ "$EUID" = 0 ]; then
    for server_user in postgres rabbitmq nobody; do
      id "$server_user" >/dev/null 2>&1 && break
    done
    as_server=(setpriv "--reuid=$server_user" "--regid=$(id -g "$server_user")" --init-groups)
  fi
}

make_data() {
  choose_server_user
  mkdir -p "$dir"
  if [ ! -f "$dir/.wxpay-services" ]; then
    [ -z "$(ls -A "$dir")" ] || die "$dir holds something else"
    touch "$dir/.wxpay-services"
  fi
  if [ ! -d "$dir/data/" ]; then
    data_is_new=yes
    rm -f "$dir/data" # a link whose far end somebody has cleaned away
    if "${as_server[@]}" test -x "$dir"; then
      mkdir "$dir/data"
    else
      # The servers' user cannot come here, as in a clone under /root.
      ln -s "$(mktemp -d /var/tmp/wxpay-services.XXXXXX)" "$dir/data"
    fi
    chmod 700 "$dir/data/"
    [ "$EUID" != 0 ] || chown "$server_user:" "$dir/data/"
  fi
  data=$(readlink -f "$dir/data")
  as_server+=(env -i -C "$data" PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 "HOME=$data")
  [ -f "$data/password" ] || od -An -tx1 -N16 /dev/urandom | tr -d ' \n' | write password
  password=$(cat "$data/password")
}

# Writes its input to a file of the data directory, for the servers' eyes only.
# shellcheck disable=SC2016 # the inner shell expands it
write() { "${as_server[@]}" sh -c 'umask 077; cat >"$1"' sh "$1"; }

delete_data() {
  [ -f "$dir/.wxpay-services" ] || return 0
  [ ! -L "$dir/data" ] || rm -rf -- "$(readlink "$dir/data")"
  rm -rf -- "$dir"
}

# publish VARIABLE URL
publish() {
  (umask 077 && touch "$dir/env")
  sed -i "/^export $1=/d" "$dir/env"
  echo "export $1='$2'" >>"$dir/env"
}

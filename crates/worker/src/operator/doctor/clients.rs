//! The clients file, as the worker and the ingress read it.

use service::SettingError;
use service::clients_file::{self, Client, ClientsFileError, Scope};
use wechatpay_v2::MchId;

use super::report::Check;
use crate::config::ClientsFile;
use crate::operator::output::{counted, plain};

const FILE: &str = "clients.file";
const REMEDY: &str = "fix the file of WXPAY_CLIENTS_FILE, see \
                      deploy/clients.sample.toml; then restart the ingress and the workers";

pub(super) fn unusable(setting: &SettingError) -> Vec<Check> {
    let remedy = format!("correct {}, or unset it", setting.variable);
    vec![Check::bad(FILE, setting.to_string(), remedy)]
}

pub(super) fn none() -> Vec<Check> {
    let why = "WXPAY_CLIENTS_FILE is not set: anyone who can publish commands can do so for every \
               merchant";
    vec![Check::skipped(FILE, why)]
}

/// `merchants` are those of the merchants file, if it could be read.
pub(super) fn checks(file: &ClientsFile, merchants: Option<&[MchId]>) -> Vec<Check> {
    let shown = plain(&file.path.to_string_lossy());
    let clients = match clients_file::read(&file.path) {
        Ok(clients) => clients,
        Err(ClientsFileError::Client { name, rule }) => {
            return vec![Check::bad(check_name(&name), rule, REMEDY)];
        }
        Err(error) => {
            let finding = format!("{shown}: {}", plain(&error.to_string()));
            return vec![Check::bad(FILE, finding, REMEDY)];
        }
    };
    let with_user = clients.iter().filter(|client| client.amqp_user.is_some()).count();
    let ingress = match &file.ingress_user {
        Some(user) => format!("the ingress's user {} is trusted", plain(user)),
        None => "no WXPAY_INGRESS_USER is trusted".to_owned(),
    };
    let count = counted(clients.len(), "client");
    let finding = format!("{shown} names {count}, {with_user} with an AMQP user; {ingress}");
    let mut checks = vec![Check::ok(FILE, finding)];
    checks.extend(clients.iter().map(|client| check(client, merchants)));
    checks
}

fn check_name(client: &str) -> String {
    format!("clients.{}", plain(client))
}

fn check(client: &Client, merchants: Option<&[MchId]>) -> Check {
    let name = check_name(&client.name);
    let Scope::Only(mch_ids) = &client.scope else {
        return Check::ok(name, "may act for every merchant");
    };
    let Some(merchants) = merchants else {
        return Check::skipped(name, "the merchants file has errors: see above");
    };
    let unknown = mch_ids.iter().filter(|mch_id| !merchants.contains(mch_id));
    let unknown: Vec<_> = unknown.map(ToString::to_string).collect();
    if unknown.is_empty() {
        return Check::ok(name, format!("may act for {}", counted(mch_ids.len(), "merchant")));
    }
    let finding = format!("may act for {}, not in the merchants file", unknown.join(", "));
    Check::warn(name, finding, "add the merchant to the merchants file, or remove it here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::doctor::report::CheckStatus;

    #[test]
    fn client_is_checked_against_the_merchants() {
        let known = [MchId::parse("1900000109").unwrap()];
        let status = |mch_ids: &str, merchants| {
            let text = format!("[[client]]\nname = \"shop\"\nmch_ids = {mch_ids}");
            check(&clients_file::parse(&text).unwrap()[0], merchants).status
        };
        assert_eq!(status("[\"1900000109\"]", Some(&known)), CheckStatus::Ok);
        assert_eq!(status("[\"1900000109\", \"1\"]", Some(&known)), CheckStatus::Warn);
        assert_eq!(status("[\"1\"]", None), CheckStatus::Skipped);
        assert_eq!(status("\"*\"", None), CheckStatus::Ok);
    }
}

//! The addresses of this machine that clients elsewhere can connect to, for the names in its certificate.
//!
//! Read from the kernel's tables of its own addresses. What lies behind a router is not seen here: such names are given by
//! `tls-names`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that are listened on with these words of `bind`: each as it is, or, for all of a family, those that the machine
/// has. Loopback is left out, since every certificate names it.
pub fn listened_on(bind: &[String]) -> Vec<IpAddr> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    listened_on_with(bind, || own(&read("fib_trie"), &read("if_inet6")))
}

/// The address by which a client on this machine gets in most easily where these words of `bind` are listened on: loopback if
/// there is a way, else the first one.
pub fn nearest(bind: &[String]) -> Option<IpAddr> {
    let here = |word: &String| match (
        word.trim_start_matches('-'),
        word.trim_start_matches('-').parse::<IpAddr>(),
    ) {
        ("*", _) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ("::*", _) => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        (_, Ok(IpAddr::V4(all))) if all.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (_, Ok(IpAddr::V6(all))) if all.is_unspecified() => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        (_, address) => address.ok(),
    };
    let addresses: Vec<IpAddr> = bind.iter().filter_map(here).collect();
    addresses.iter().find(|address| address.is_loopback()).or(addresses.first()).copied()
}

fn listened_on_with(bind: &[String], own: impl Fn() -> Vec<IpAddr>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for word in bind.iter().map(|word| word.trim_start_matches('-')) {
        match (word, word.parse::<IpAddr>()) {
            ("*", _) => found.extend(own().into_iter().filter(IpAddr::is_ipv4)),
            ("::*", _) => found.extend(own().into_iter().filter(IpAddr::is_ipv6)),
            (_, Ok(IpAddr::V4(all))) if all.is_unspecified() => {
                found.extend(own().into_iter().filter(IpAddr::is_ipv4));
            }
            // A socket for all of IPv6 takes IPv4 as well unless the system says otherwise.
            (_, Ok(IpAddr::V6(all))) if all.is_unspecified() => found.extend(own()),
            (_, Ok(address)) if !address.is_loopback() => found.push(address),
            _ => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The addresses in the kernel's tables, without loopback and what holds on one link only.
fn own(fib_trie: &str, if_inet6: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.filter(|address| !address.is_loopback()).map(IpAddr::V4));
        }
    }
    for line in if_inet6.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(digits), Some(&"00")) = (words.first(), words.get(3)) else { continue };
        let bits = u128::from_str_radix(digits, 16);
        found.extend(bits.ok().map(|bits| IpAddr::V6(Ipv6Addr::from(bits))));
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_nearest() {
        for (bind, address) in [
            ("10.0.0.5 127.0.0.1", Some("127.0.0.1")),
            ("* -::*", Some("127.0.0.1")),
            ("0.0.0.0", Some("127.0.0.1")),
            ("-::1", Some("::1")),
            ("10.0.0.5 10.0.0.6", Some("10.0.0.5")),
            ("", None),
            ("name.example", None),
        ] {
            let words: Vec<String> = bind.split_whitespace().map(str::to_owned).collect();
            assert_eq!(nearest(&words), address.map(|address| address.parse().unwrap()), "{bind}");
        }
    }

    const FIB_TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
        |-- 192.0.2.2
           /32 host LOCAL
";

    const IF_INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 02 40 00 82     eth0
fe8000000000000000fc00fffe000001 02 40 20 80     eth0
";

    fn listened(bind: &[&str]) -> Vec<String> {
        let bind: Vec<String> = bind.iter().map(|word| (*word).to_owned()).collect();
        listened_on_with(&bind, || own(FIB_TRIE, IF_INET6)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_of_a_family_are_the_addresses_that_the_machine_has() {
        assert_eq!(listened(&["*", "-::*"]), ["192.0.2.2", "fd00::2"]);
        assert_eq!(listened(&["0.0.0.0"]), ["192.0.2.2"]);
        assert_eq!(listened(&["-::"]), ["192.0.2.2", "fd00::2"]);
    }

    #[test]
    fn a_named_address_stands_for_itself_and_loopback_for_none() {
        assert_eq!(listened(&["127.0.0.1", "-::1", "198.51.100.7", "198.51.100.7"]), ["198.51.100.7"]);
        assert_eq!(listened(&[]), Vec::<String>::new());
    }

    #[test]
    fn the_kernel_of_this_machine_tells_its_own() {
        // Whatever there is, it is neither loopback nor of one link.
        for address in listened_on(&["*".to_owned(), "::*".to_owned()]) {
            assert!(!address.is_loopback() && !address.to_string().starts_with("fe80"), "{address}");
        }
    }
}

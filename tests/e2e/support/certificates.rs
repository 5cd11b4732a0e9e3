//! The test endpoints' certificate authority, one for the whole process.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What a test endpoint's certificate is like.
#[derive(Clone, Copy, Debug, Default)]
pub enum Certificate {
    /// As it should be.
    #[default]
    Good,
    /// Signed by an authority that nobody trusts.
    Untrusted,
    /// For another host.
    OtherHost,
    /// No longer valid.
    Expired,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The authority's certificate, as PEM: what Herald has to trust.
pub fn authority_pem() -> String {
    authority().pem()
}

/// The certificate of an authority that has signed nothing, as PEM.
pub fn another_authority_pem() -> String {
    new_authority().pem()
}

/// A server's certificate for 127.0.0.1, 127.0.0.2 and localhost.
pub fn server(kind: Certificate) -> Pair {
    let hosts = match kind {
        Certificate::OtherHost => vec!["elsewhere.example".to_owned()],
        Certificate::Good | Certificate::Untrusted | Certificate::Expired => {
            ["127.0.0.1", "127.0.0.2", "localhost"].map(str::to_owned).to_vec()
        }
    };
    let mut params = CertificateParams::new(hosts).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if let Certificate::Expired = kind {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    match kind {
        Certificate::Untrusted => sign(&params, &new_authority()),
        Certificate::Good | Certificate::OtherHost | Certificate::Expired => sign(&params, authority()),
    }
}

/// A server's certificate for this host name.
pub fn server_of(host: &str) -> Pair {
    signed(host, ExtendedKeyUsagePurpose::ServerAuth, authority())
}

/// A client's certificate, for endpoints that ask for one.
pub fn client(name: &str) -> Pair {
    signed(name, ExtendedKeyUsagePurpose::ClientAuth, authority())
}

/// An authority of the test's own.
pub struct Another(Authority);

impl Another {
    pub fn new() -> Self {
        Self(new_authority())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn server(&self, host: &str) -> Pair {
        signed(host, ExtendedKeyUsagePurpose::ServerAuth, &self.0)
    }

    pub fn client(&self, name: &str) -> Pair {
        signed(name, ExtendedKeyUsagePurpose::ClientAuth, &self.0)
    }
}

fn signed(name: &str, purpose: ExtendedKeyUsagePurpose, authority: &Authority) -> Pair {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    sign(&params, authority)
}

fn sign(params: &CertificateParams, authority: &Authority) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(new_authority)
}

fn new_authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Named unlike any other, so that a verifier does not take it for one that it knows.
    params.distinguished_name.push(DnType::CommonName, format!("authority {}", rand::random::<u64>()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

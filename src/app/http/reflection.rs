//! gRPC server reflection, v1 and v1alpha: clients use it to find services, messages and error details. Needs no key.

use axum::Router;
use tonic_reflection::server::Builder;

use super::protocols::path;
use crate::app::health::MAX_PROBE;
use crate::grpc::health;

/// Serves reflection for `descriptors`, the health service and reflection itself.
pub(in crate::app) fn routes(descriptors: &[&[u8]]) -> anyhow::Result<Router> {
    let builder = || {
        let known = [health::DESCRIPTORS].into_iter().chain(descriptors.iter().copied());
        known.fold(Builder::configure(), Builder::register_encoded_file_descriptor_set)
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(MAX_PROBE);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(MAX_PROBE);
    Ok(Router::new().route_service(&path(&v1), v1.clone()).route_service(&path(&v1alpha), v1alpha.clone()))
}

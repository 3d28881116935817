//! The lease's item in a DynamoDB table.
//!
//! Reads are consistent. A write is a whole item, on the condition that the one which is there has
//! the expected counter, so that of two writers one succeeds.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use tidegate_policy::LeaseRules;

use super::client::{CallLimits, LazyClient};
use super::reason;
use crate::lease::{Item, LeaseError, Store, VERSION, Written};

const KEY: &str = "lease";
const GET: &str = "dynamodb:GetItem";
const PUT: &str = "dynamodb:PutItem";

/// The store of a lease.
pub struct DynamoDb {
    table: String,
    key: String,
    link: LazyClient<Client>,
}

impl DynamoDb {
    pub fn new(rules: &LeaseRules) -> DynamoDb {
        DynamoDb {
            table: rules.table.clone().unwrap_or_default(),
            key: rules.key.clone().unwrap_or_default(),
            link: LazyClient::new(
                rules.endpoint(),
                CallLimits::once(*rules.timeout),
                Client::new,
            ),
        }
    }

    async fn client(&self, call: &'static str) -> Result<&Client, LeaseError> {
        let client = self.link.client().await;
        client.map_err(|missing| {
            let why = missing.to_string();
            LeaseError::Call { call, why }
        })
    }
}

#[async_trait]
impl Store for DynamoDb {
    async fn read(&self) -> Result<Option<Item>, LeaseError> {
        let client = self.client(GET).await?;
        let get = client
            .get_item()
            .table_name(&self.table)
            .key(KEY, AttributeValue::S(self.key.clone()))
            .consistent_read(true);
        let answer = get.send().await.map_err(|error| LeaseError::Call {
            call: GET,
            why: reason(&error),
        })?;
        answer.item.as_ref().map(item_of).transpose()
    }

    async fn write(&self, expected: Option<u64>, item: &Item) -> Result<Written, LeaseError> {
        let client = self.client(PUT).await?;
        let put = client
            .put_item()
            .table_name(&self.table)
            .item(KEY, AttributeValue::S(self.key.clone()))
            .item("version", number(u64::from(VERSION)))
            .item("owner", AttributeValue::S(item.owner.clone()))
            .item("epoch", number(item.epoch))
            .item("counter", number(item.counter))
            .item("duration_ms", number(item.duration_ms));
        let put = match &item.memory {
            Some(memory) => put.item("memory", AttributeValue::S(memory.clone())),
            None => put,
        };
        let put = match expected {
            Some(counter) => put
                .condition_expression("#counter = :expected")
                .expression_attribute_names("#counter", "counter")
                .expression_attribute_values(":expected", number(counter)),
            None => put
                .condition_expression("attribute_not_exists(#lease)")
                .expression_attribute_names("#lease", KEY),
        };
        match put.send().await {
            Ok(_) => Ok(Written::Yes),
            Err(error) => match error.as_service_error() {
                Some(refused) if refused.is_conditional_check_failed_exception() => {
                    Ok(Written::Conflict)
                }
                _ => Err(LeaseError::Call {
                    call: PUT,
                    why: reason(&error),
                }),
            },
        }
    }
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn item_of(attributes: &HashMap<String, AttributeValue>) -> Result<Item, LeaseError> {
    let missing = |name: &str| LeaseError::NotOurs {
        why: format!("it has no {name}"),
    };
    let text = |name: &str| {
        let value = attributes.get(name);
        value.and_then(|value| value.as_s().ok()).cloned()
    };
    let number = |name: &str| {
        let value = attributes.get(name);
        let digits = value.and_then(|value| value.as_n().ok());
        let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| missing(name))
    };
    match number("version")? {
        found if found > u64::from(VERSION + 1) => Err(LeaseError::Version {
            found: u32::try_from(found).unwrap_or(u32::MAX),
        }),
        _ => Ok(Item {
            owner: text("owner").ok_or_else(|| missing("owner"))?,
            epoch: number("epoch")?,
            counter: number("counter")?,
            duration_ms: number("duration_ms")?,
            memory: text("memory"),
        }),
    }
}

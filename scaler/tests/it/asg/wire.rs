//! What the SDK makes of AWS's own answers.

use super::*;

use axum::Router;
use axum::extract::RawForm;
use tidegate_scaler::aws::autoscaling::AwsGroup;
use tidegate_scaler::fleet::asg::group::Group;
use tidegate_tests::ENVIRONMENT;

/// What moto never has: members on their way, in standby, and a pool of two pages.
fn answer(action: &str, is_next: bool) -> String {
    let instance = |(id, state): &(&str, &str)| {
        format!(
            "<member><InstanceId>{id}</InstanceId><AvailabilityZone>eu-central-1a\
             </AvailabilityZone><LifecycleState>{state}</LifecycleState><HealthStatus>Healthy\
             </HealthStatus><ProtectedFromScaleIn>true</ProtectedFromScaleIn></member>"
        )
    };
    let list = |all: &[(&str, &str)]| all.iter().map(instance).collect::<String>();
    match (action, is_next) {
        ("DescribeAutoScalingGroups", _) => format!(
            "<AutoScalingGroups><member><AutoScalingGroupName>workers</AutoScalingGroupName>\
             <MinSize>0</MinSize><MaxSize>9</MaxSize><DesiredCapacity>2</DesiredCapacity>\
             <DefaultCooldown>300</DefaultCooldown><AvailabilityZones/><HealthCheckType>EC2\
             </HealthCheckType><CreatedTime>2026-01-01T00:00:00Z</CreatedTime><WarmPoolSize>4\
             </WarmPoolSize><WarmPoolConfiguration><PoolState>Stopped</PoolState>\
             </WarmPoolConfiguration><Instances>{}</Instances></member></AutoScalingGroups>",
            list(&[
                ("i-1", "InService"),
                ("i-2", "Standby"),
                ("i-3", "EnteringStandby"),
                ("i-4", "Pending:Wait"),
            ])
        ),
        ("DescribeWarmPool", false) => format!(
            "<NextToken>more</NextToken><Instances>{}</Instances>",
            list(&[("i-5", "Warmed:Stopped"), ("i-6", "Warmed:Pending:Wait")])
        ),
        ("DescribeWarmPool", true) => format!(
            "<Instances>{}</Instances>",
            list(&[("i-7", "Warmed:Running"), ("i-8", "Warmed:Terminated")])
        ),
        other => panic!("{other:?} was not to be called"),
    }
}

async fn reply(RawForm(form): RawForm) -> String {
    let form = String::from_utf8_lossy(&form).into_owned();
    let value = |name: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then(|| value.to_owned()))
    };
    let action = value("Action").expect("an action");
    let result = answer(&action, value("NextToken").is_some());
    format!(
        "<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
         <{action}Result>{result}</{action}Result></{action}Response>"
    )
}

/// The SDK takes credentials from the environment, so this is a process with some.
#[test]
fn the_pool_is_read_to_its_end_and_each_state_is_what_it_means() {
    let own = std::env::current_exe().expect("the path of this test");
    let mut command = std::process::Command::new(own);
    command.args(["asg::wire::states", "--exact", "--ignored"]);
    let output = command.envs(ENVIRONMENT).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn states() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let routes = Router::new().fallback(reply);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let rules = rules_of(&format!(
        "group = 'workers'\nregion = 'eu-central-1'\nendpoint_url = '{url}'\ntimeout = '5s'"
    ));
    let seen = AwsGroup::new(&rules).look().await.expect("it answers");
    assert_eq!((seen.warm, seen.desired, seen.max), (4, 2, 9));
    let states = seen.instances.iter().map(|i| (i.id.as_str(), i.state));
    assert_eq!(
        states.collect::<Vec<_>>(),
        [
            ("i-1", State::InService),
            ("i-2", State::Standby),
            ("i-3", State::Leaving),
            ("i-4", State::PendingWait),
            ("i-5", State::Warm),
            ("i-6", State::WarmWait),
            ("i-7", State::Warm),
        ]
    );
}

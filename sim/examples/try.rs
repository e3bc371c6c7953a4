use reprise_sim::campaign::Campaign;
use reprise_sim::scenario::Limits;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (first, count) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let faults = args.get(3).map_or(reprise_sim::scenario::Faults::all(), |f| f.parse().unwrap());
    if let Ok(blocks) = std::env::var("SIM_BLOCKS") {
        let l = Limits { faults, every_fault: true, blocks: blocks.parse().unwrap(), ..Limits::default() };
        println!("{:#?}", reprise_sim::scenario::Scenario::draw(first, &l));
        println!(
            "{:#?}",
            reprise_sim::world::World::new(reprise_sim::scenario::Scenario::draw(first, &l))
                .unwrap()
                .run_telling(Some(&mut |line| eprintln!("{line}")))
        );
        return;
    }
    let limits = Limits { faults, every_fault: args.get(4).is_some(), ..Limits::default() };
    let began = std::time::Instant::now();
    let campaign = Campaign::run(first, count, &limits, &|o| {
        if !o.violations.is_empty() {
            eprintln!("{} {:?}", o.seed, &o.violations[..1]);
        }
    })
    .unwrap();
    println!("{campaign:#?}");
    println!("{:?}", began.elapsed());
}
